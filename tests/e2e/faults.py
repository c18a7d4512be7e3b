"""What can befall a run, and what then becomes of it: signals, damaged files, races.

After each fault the same command runs again, and its tables are held against those of a run that
nothing disturbed. The verdicts:

- mended: it ends well, and the tables are right;
- refused: it says what is wrong (exit code 3 to 6), and ends well once that advice is followed:
  `platorep cache clean --broken`, else to delete the file that it names;
- wrong: it ends well with other tables, or draws a figure of other numbers;
- stuck: neither, be it by a traceback or because the advice does not help.
"""

import random
import re
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Command, Ended, Forks
from small_experiment import Place, tables

VERDICTS = ("mended", "refused", "wrong", "stuck")
BAD = ("wrong", "stuck")
REFUSALS = (3, 4, 5, 6)
SLOW = {"slow_disk": 0.02}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
TOY = {"backend": "toyworld", "training": {"steps": 0}}
EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "dataset": {"source": "toyworld", "limit": 12},
    "families": [
        {"name": "readers", "modality": "language", "models": ["llama8", "llama16"], **TOY},
        {"name": "viewers", "modality": "vision", "models": ["conv4"], **TOY},
    ],
    "extract": {"rows_per_shard": 6, "workers": 0},
    "performance": [{"name": "bits_per_byte", "source": "captions"}],
    "align": {"metrics": [{"name": "mutual_knn", "k": 3}], "null": {"permutations": 9}},
    "controls": {"shuffled_pairs": True},
    "figures": [{"kind": "heatmap"}],
}
"""It writes every kind of file, pictures and networks of the toy world included."""


@dataclass(frozen=True)
class Outcome:
    """One fault and what became of the run."""

    kind: str
    """A signal, a damage, or a race."""
    what: str
    verdict: str
    said: str = ""
    """The last words of a command that was stuck or wrong."""


class Faults:
    """Brings faults upon runs of one experiment, in `folder`."""

    def __init__(self, forks: Forks, folder: Path, experiment: dict[str, Any] = EXPERIMENT) -> None:
        self._forks, self._folder, self._experiment = forks, folder, experiment
        self._number = 0
        self.whole = self._new_place()
        forks.run("list", "metrics", folder=folder, cache=folder / "cache")  # it is warm now
        started = time.monotonic()
        ended = self._run(self.whole, slow=True)
        assert ended.code == 0, ended.stderr
        self._seconds = time.monotonic() - started
        self._tables = tables(self.whole)

    # Signals

    def signals(self, number: int, seed: int = 0) -> Iterator[Outcome]:
        """One run each, ended at a moment drawn from all of its time, then finished."""
        rng = random.Random(seed)
        hits = 0
        for _ in range(20 * number):
            if hits == number:
                return
            place, sent = self._new_place(), SIGNALS[hits % len(SIGNALS)]
            moment = rng.uniform(0, self._seconds)
            command = self._start(place, slow=True)
            _wait(command, moment)
            command.send(sent)
            ended = command.end()
            what = f"{sent.name} after {moment:.2f} s"
            if ended.code == 0:  # it was over: draw another moment
                self._seconds = min(self._seconds, max(moment, self._seconds * 0.8))
                shutil.rmtree(place.folder)
                continue
            hits += 1
            if ended.code not in (128 + sent, -sent) or "Traceback" in ended.stderr:
                yield Outcome("signal", what, "stuck", _last(ended))
                continue
            yield self._judge("signal", what, place)
            shutil.rmtree(place.folder)
        assert hits == number, f"{hits} of {20 * number} signals hit a run"

    # Races

    def races(self, sizes: Sequence[int]) -> Iterator[Outcome]:
        """Several processes with one command at once; who is turned away comes again."""
        for size in sizes:
            place = self._new_place()
            ended = [command.end() for command in [self._start(place) for _ in range(size)]]
            for end in ended:
                if end.code not in (0, *REFUSALS) or "Traceback" in end.stderr:
                    yield Outcome("race", f"{size} processes", "stuck", _last(end))
            yield self._judge("race", f"{size} processes", place)
            shutil.rmtree(place.folder)

    # Damage

    def damages(self) -> list[tuple[str, str]]:
        """Every kind of file of a finished run, with every damage that can be done to it."""
        return [
            (kind, damage)
            for kind, paths in kinds_of_files(self.whole).items()
            for damage in DAMAGES
            if paths[0].stat().st_size > 0 or damage in ("delete", "folder")
            if len(paths) > 1 or damage != "swap"
        ]

    def damage(self, kind: str, damage: str, seed: int = 0) -> Outcome:
        """Damage one file of a finished run, and lay bare what was made of it."""
        place = self._new_place()
        for source, target in (
            (self.whole.cache, place.cache),
            (self.whole.results, place.results),
        ):
            shutil.copytree(source, target)
        paths = kinds_of_files(place)[kind]
        path, *others = random.Random(seed).sample(paths, len(paths))
        DAMAGES[damage](path, others)
        for later in made_of(kind):
            shutil.rmtree(place.folder / later, ignore_errors=True)
        what = f"{damage} {kind}"
        if kind.startswith("results"):
            drawn = self._forks.run("plot", str(place.file), folder=place.folder, cache=place.cache)
            figures = {name for name in self._tables if name.startswith("figures/")}
            said = "was edited" in drawn.stderr  # of a CSV, which somebody may have meant
            if (
                drawn.code == 0
                and not said
                and any(
                    (place.results / name).read_text() != self._tables[name] for name in figures
                )
            ):
                return Outcome("damage", what, "wrong", "a figure of other numbers")
        outcome = self._judge("damage", what, place, path)
        shutil.rmtree(place.folder)
        return outcome

    def _judge(self, kind: str, what: str, place: Place, damaged: Path | None = None) -> Outcome:
        """Run the same command again, and do what it says."""
        remedies: list[Callable[[Ended], None]] = [lambda _: self._clean(place)]
        if damaged is not None:
            remedies.append(lambda ended: _delete_if_named(damaged, ended))
        ended = self._run(place)
        verdict = "mended"
        while ended.code:
            if ended.code not in REFUSALS or "Traceback" in ended.stderr or not remedies:
                return Outcome(kind, what, "stuck", _last(ended))
            verdict = "refused"
            remedies.pop(0)(ended)
            ended = self._run(place)
        if tables(place) != self._tables:
            differ = [name for name, text in tables(place).items() if text != self._tables[name]]
            return Outcome(kind, what, "wrong", ", ".join(differ))
        return Outcome(kind, what, verdict)

    def _clean(self, place: Place) -> None:
        self._forks.run("cache", "clean", "--broken", folder=place.folder, cache=place.cache)

    def _new_place(self) -> Place:
        self._number += 1
        place = Place(self._folder / str(self._number))
        place.write(self._experiment)
        return place

    def _start(self, place: Place, *, slow: bool = False) -> Command:
        return self._forks.start(
            *("run", str(place.file), "-v"),
            folder=place.folder,
            cache=place.cache,
            conditions=SLOW if slow else {},
        )

    def _run(self, place: Place, *, slow: bool = False) -> Ended:
        return self._start(place, slow=slow).end()


def kinds_of_files(place: Place) -> dict[str, list[Path]]:
    """The files of a run by kind: their path, with `*` for names of models, hashes and numbers."""
    kinds = defaultdict(list)
    for root in (place.cache, place.results):
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            parts = path.relative_to(place.folder).parts
            if parts[:2] == ("cache", "features"):
                parts = (*parts[:2], "*", "*", "*", *parts[5:])
            name = re.sub(r"[0-9a-f]{16}|\d{5,}", "*", "/".join(parts))
            kinds[re.sub(r"(conv|llama)\d+", r"\1", name)].append(path)
    return dict(kinds)


def made_of(kind: str) -> tuple[str, ...]:
    """Folders to remove, so that a file of this kind is read again."""
    if kind.startswith("results"):
        return ()
    if kind.startswith(("cache/features", "cache/measurements")):
        return ("results",)
    return ("cache/features", "cache/measurements", "results")


def flip(path: Path, others: Sequence[Path]) -> None:
    """Another digit in the middle of a text, so that it can still be read; else another bit."""
    content = bytearray(path.read_bytes())
    digits = [i for i, byte in enumerate(content) if chr(byte).isdigit() and byte < 128]
    is_text = path.suffix in (".csv", ".json")
    i = digits[len(digits) // 2] if is_text and digits else len(content) // 2
    content[i] ^= 1
    path.write_bytes(content)


def cut(path: Path, others: Sequence[Path]) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path, others: Sequence[Path]) -> None:
    path.write_bytes(b"")


def delete(path: Path, others: Sequence[Path]) -> None:
    path.unlink()


def swap(path: Path, others: Sequence[Path]) -> None:
    """With another of its kind that holds something else, if there is one."""
    content = path.read_bytes()
    other = next((o for o in others if o.read_bytes() != content), others[0])
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def folder(path: Path, others: Sequence[Path]) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path, Sequence[Path]], None]] = {
    damage.__name__: damage for damage in (flip, cut, empty, delete, swap, folder)
}


def _delete_if_named(path: Path, ended: Ended) -> None:
    if path.name not in ended.stderr:
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _wait(command: Command, seconds: float) -> None:
    end = time.monotonic() + seconds
    command.wait_until(lambda: time.monotonic() >= end)


def _last(ended: Ended) -> str:
    lines = ended.stderr.strip().splitlines() or [""]
    return f"exit code {ended.code}: {lines[-1]}"
