"""The folder of an experiment's results: every path in it, and its tidy tables."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from platorep.config import ExperimentConfig, ModelSpec
from platorep.errors import (
    AbsentError,
    DamagedError,
    IntegrityError,
)
from platorep.files import (
    alone,
    atomic_path,
    digest,
    read_sealed,
    reading,
    sha256,
    sha256_file,
    write_sealed,
)
from platorep.reporting import Reporter

WITHOUT_EFFECT = (
    *("name", "figures", "report", "align.memory"),
    *("extract.batch", "extract.workers", "extract.rows_per_shard"),
)
"""Settings that move no number."""

MadeFrom = Mapping[str, str]
"""What a table was made from, by name: two tables that differ in one name do not go together."""


@dataclass(frozen=True)
class Results:
    """Knows all paths of a run. The stages meet here and in the feature cache, nowhere else.

    Whatever lies here and holds a number can be told from what was written: JSON carries its seal,
    `checksums.json` has the checksums of the tables and what they were made from.
    """

    folder: Path
    experiment: str | None = None
    """Its name, which the files must carry; None: whichever it is."""
    output: Path | None = None
    """Where what is made from the tables goes, if they lie where nothing is written (a bundle)."""

    @property
    def made(self) -> Path:
        """Where what is made from the tables goes."""
        return self.output or self.folder

    @property
    def cells(self) -> Path:
        return self.folder / "cells.json"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.parquet"

    @property
    def rows_known(self) -> Path:
        """What the rows are known by."""
        return self.folder / "rows.json"

    @property
    def run(self) -> Path:
        return self.folder / "run.json"

    @property
    def checksums(self) -> Path:
        return self.folder / "checksums.json"

    @property
    def failures(self) -> Path:
        return self.made / "failures.jsonl"

    @property
    def performance(self) -> Path:
        return self.folder / "performance.csv"

    @property
    def models(self) -> Path:
        return self.folder / "models.csv"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.parquet"

    @property
    def best(self) -> Path:
        return self.folder / "best.csv"

    @property
    def layers(self) -> Path:
        return self.folder / "layers.csv"

    @property
    def gallery(self) -> Path:
        return self.folder / "gallery.csv"

    def further(self, table: str) -> Path:
        """What an analysis has found."""
        return self.folder / (table if "." in table else f"{table}.csv")

    @property
    def metrics(self) -> Path:
        """How each metric does where the answer is known."""
        return self.folder / "metrics.csv"

    @property
    def dial(self) -> Path:
        """The scores behind it, by share of information."""
        return self.folder / "dial.csv"

    @property
    def parts(self) -> Path:
        """Finished pieces of tables, so that a killed run goes on where it was."""
        return self.made / "parts"

    @property
    def figures(self) -> Path:
        return self.made / "figures"

    @property
    def drawn(self) -> Path:
        """What each figure was drawn from."""
        return self.made / "figures.json"

    @property
    def report(self) -> Path:
        """The page that shows them."""
        return self.made / "report.html"

    @property
    def reported(self) -> Path:
        """What the page was made from."""
        return self.made / "report.json"

    def read_json(self, path: Path, before: str) -> dict[str, Any]:
        """A JSON file that the stage called `before` writes.

        Raises:
            AbsentError: it is not there.
            DamagedError: it is not what was written, or another experiment's.
        """
        try:
            return read_sealed(path, of=self.experiment, cure=_again(before))
        except FileNotFoundError as error:
            raise _absent(path, before) from error

    def read_table(self, path: Path, before: str, report: Reporter | None = None) -> pd.DataFrame:
        """A CSV or parquet file that the stage called `before` writes.

        Args:
            report: Who is told of a CSV that was edited since; without one it is refused.

        Raises:
            AbsentError: it is not there.
            DamagedError: it is no table, or not the one that was written.
            IntegrityError: it was edited, and there is nobody to tell.
        """
        content = self._content(path, before)
        written = self._written(path.name, before)
        as_written = not written or sha256(content) in [entry["sha256"] for entry in written]
        if not as_written and path.suffix != ".csv":
            raise DamagedError(f"{path} is damaged: its checksum is another. {_again(before)}")
        try:
            table = _table(path, content)
        except ValueError as error:
            raise DamagedError(f"{path} is not a table: {error}. {_again(before)}") from error
        if as_written:
            return table
        if report is None:
            raise IntegrityError(f"{path} was edited since it was written. {_again(before)}")
        report.warn(
            f"{path} was edited since it was written, and is used as it is now; "
            f"`platorep {before}` writes it anew"
        )
        return table

    def write_table(self, path: Path, frame: pd.DataFrame, made_from: MadeFrom) -> None:
        """Write a table of this folder, CSV or parquet, and its checksum."""
        content = _encoded(path, frame)
        self.replace_table(path, lambda partial: partial.write_bytes(content), made_from)

    def replace_table(
        self, path: Path, write: Callable[[Path], object], made_from: MadeFrom
    ) -> None:
        """Have a table of this folder written under another name, and put it in its place.

        Its checksum is there before the table is: until then, that of the table which stands there
        counts too.
        """
        with alone(self.made / ".lock"), atomic_path(path) as partial:
            write(partial)
            entry = {"sha256": sha256_file(partial), "made_from": dict(made_from)}
            try:
                tables = self.read_json(self.checksums, "run").get("tables", {})
            except (AbsentError, DamagedError):
                tables = {}
            entries = [entry]
            if path.is_file():
                standing = sha256_file(path)
                entries += [e for e in tables.get(path.name, []) if e["sha256"] == standing]
            tables[path.name] = entries
            self.write_json(self.checksums, {"tables": tables})

    def made_from(self, path: Path, before: str) -> MadeFrom:
        """What a table was made from; nothing is known of one that 0.1.0 wrote."""
        written = self._written(path.name, before)
        if len(written) > 1 or not path.is_file():
            checksum = sha256(self._content(path, before))
            written.sort(key=lambda entry: entry["sha256"] != checksum)
        # one that was edited: of what it was
        made_from: MadeFrom = written[0]["made_from"] if written else {}
        return made_from

    def refuse_mixed(self, tables: Mapping[Path, str]) -> None:
        """Refuse tables that were made from different things.

        Args:
            tables: Each with the stage that writes it.

        Raises:
            IntegrityError: two of them do not go together; names both and what they differ in.
        """
        known = [(path, self.made_from(path, before)) for path, before in tables.items()]
        for (a, of_a), (b, of_b) in itertools.combinations(known, 2):
            if different := sorted(n for n in {*of_a} & {*of_b} if of_a[n] != of_b[n]):
                raise IntegrityError(
                    f"{a} and {b.name} do not go together: they were made from different "
                    f"{', '.join(different)}. Run `platorep run` with this experiment: it makes "
                    "what is out of date."
                )

    def dataset(self) -> dict[str, Any]:
        """What `extract` recorded of the dataset whose rows lie beside it.

        Raises:
            AbsentError: it was not extracted.
            IntegrityError: the rows are those of another dataset.
        """
        facts: dict[str, Any] | None = self.read_json(self.run, "extract").get("dataset")
        if facts is None:
            raise AbsentError(f"{self.run} says nothing of the dataset. {_run('extract')}")
        rows = self.made_from(self.rows, "extract").get("rows", facts["fingerprint"])
        if rows != facts["fingerprint"]:
            raise IntegrityError(
                f"{self.run} and {self.rows.name} are of different datasets. {_again('extract')}"
            )
        return facts

    def update_json(self, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a JSON file that several processes may change at once."""
        with alone(self.made / ".lock"):
            content = self.read_json(path, "extract") if path.exists() else {}
            change(content)
            self.write_json(path, content)

    def record(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Put a stage's facts into run.json."""
        self.update_json(self.run, lambda run: run.update({stage: dict(facts)}))

    def begin(self, settings: Mapping[str, Any], report: Reporter) -> None:
        """Put the settings into run.json, say what they replace, and drop what is damaged.

        What is dropped the stages write anew.
        """
        for path in (self.run, self.cells, self.drawn):
            try:
                before = self.read_json(path, "extract").get("config", {})
            except AbsentError:
                continue
            except DamagedError as error:
                report.warn(f"{path} is written anew: {error}")
                with alone(self.made / ".lock"):
                    self.write_json(path, {})
                continue
            now = without_effect_removed(settings)
            if changed := differences(without_effect_removed(before), now):
                report.say(
                    f"{self.folder} held results of other settings ({', '.join(changed)}), which "
                    "are replaced; --output FOLDER keeps both"
                )
        self.record("config", settings)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """A JSON file that carries a seal."""
        write_sealed(path, content, of=self.experiment or "")

    def _written(self, name: str, before: str) -> list[dict[str, Any]]:
        """The checksums that a table may have; none is known of one that 0.1.0 wrote.

        Raises:
            DamagedError: what is said of them is none that this class writes.
        """
        try:
            entries = self.read_json(self.checksums, before).get("tables", {}).get(name, [])
            return [
                {"sha256": str(entry["sha256"]), "made_from": dict(entry["made_from"])}
                for entry in entries
            ]
        except AbsentError:
            return []
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{self.checksums} does not say which {name} was written: {error!r}. "
                f"{_again(before)}"
            ) from error

    def _content(self, path: Path, before: str) -> bytes:
        try:
            with reading(path):
                return path.read_bytes()
        except FileNotFoundError as error:
            raise _absent(path, before) from error
        except IsADirectoryError as error:
            raise DamagedError(f"a folder is in the place of {path}. Remove it.") from error


def networks(specs: Iterable[ModelSpec]) -> dict[str, str]:
    """Which network each label stands for, wherever its files lie; part of a `MadeFrom`."""
    which = {"revision", "random_init", "seed", "training", "step"}

    def network(spec: ModelSpec) -> str:
        files = [Path(spec.name).name, Path(spec.checkpoint or "").name]
        return digest([files, spec.model_dump(mode="json", include=which)])

    return {f"network {spec.label}": network(spec) for spec in specs}


def without_effect_removed(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings that move a number."""
    kept = {n: value for n, value in settings.items() if f"{prefix}{n}" not in WITHOUT_EFFECT}
    return {
        name: without_effect_removed(value, f"{prefix}{name}.")
        if isinstance(value, dict)
        else value
        for name, value in kept.items()
    }


def cell_settings(config: ExperimentConfig, spec: ModelSpec) -> dict[str, Any]:
    """The settings that decide a model's features, without those at their default.

    Of a path only the last part counts: another machine has its files elsewhere.
    """
    settings = spec.model_dump(
        mode="json",
        exclude_defaults=True,
        exclude={"label", "family", "random_of", "repeat_of", "device_map"},
    )
    settings |= {
        "dataset": config.dataset.model_dump(mode="json", exclude_defaults=True),
        "extract": config.extract.model_dump(include={"dtype", "store"}, exclude_defaults=True),
    }
    local: dict[str, Any] = last_parts(settings)
    return local


def last_parts(value: Any) -> Any:
    """The same settings, with no more of a path than its last part."""
    if isinstance(value, dict):
        return {key: last_parts(entry) for key, entry in value.items()}
    return Path(value).name if is_path(value) else value


def without_paths(value: Any) -> Any:
    """As `last_parts`, in lists too: where no key depends on what is left."""
    if isinstance(value, dict):
        return {key: without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_paths(entry) for entry in value]
    return last_parts(value)


def is_path(value: Any) -> bool:
    """Whether a setting is an absolute path."""
    return isinstance(value, str) and value.removeprefix("local-dir:").startswith("/")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names, with dots, of the settings in both that are others now."""
    return [*changes(before, now)]


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """The settings in both that are others now, by name, with dots: what they were and are.

    A name that only one of them has is no change: another version knows other settings.
    """
    changed: dict[str, tuple[Any, Any]] = {}
    for name in [name for name in now if name in before]:
        changed |= _changed(before[name], now[name], f"{prefix}{name}")
    return changed


def _changed(before: Any, now: Any, path: str) -> dict[str, tuple[Any, Any]]:
    if before == now:
        return {}
    if isinstance(before, dict) and isinstance(now, dict):
        return changes(before, now, f"{path}.")
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        found: dict[str, tuple[Any, Any]] = {}
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            found |= _changed(one, other, f"{path}[{place}]")
        return found
    return {path: (before, now)}


# a model may be called 7 or NA; a table must not turn that into a number or a hole
_TEXT_COLUMNS: dict[str, Any] = dict.fromkeys(
    (
        *("dataset", "metric", "measure", "better", "control", "reason", "source"),
        *("x", "y", "x_family", "y_family", "x_modality", "y_modality"),
        *("model", "label", "family", "modality", "view", "k_rule", "layer_name", "by", "group"),
        *("network", "objective", "images"),
        *("layer_x_name", "layer_y_name", "weights"),
        *("side", "against", "kind", "x1", "x2", "partner", "experiment", "first", "second"),
        *("model_trained", "partner_trained", "word"),
    ),
    str,
)
_NAMES_OR_HOLES: dict[str, Any] = {"random_of": str, "changed_of": str, "repeat_of": str}


def _encoded(path: Path, frame: pd.DataFrame) -> bytes:
    if path.suffix == ".parquet":
        return frame.to_parquet(index=False)
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _table(path: Path, content: bytes) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(BytesIO(content))
    columns = pd.read_csv(BytesIO(content), nrows=0).columns
    holes = {name: [""] for name in columns if name not in _TEXT_COLUMNS}
    names = _TEXT_COLUMNS | _NAMES_OR_HOLES
    return pd.read_csv(BytesIO(content), dtype=names, keep_default_na=False, na_values=holes)


def _absent(path: Path, before: str) -> AbsentError:
    return AbsentError(f"no {path.name} in {path.parent}. {_run(before)}")


def _run(stage: str) -> str:
    return f"Run `platorep {stage}` with this experiment first."


def _again(stage: str) -> str:
    return f"Run `platorep {stage}` with this experiment again: it writes the file anew."
