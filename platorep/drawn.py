"""Which figures are drawn already, and from what, and whether the page is made from the results as
they are now; light to import, as drawing is not."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platorep.errors import AbsentError, DamagedError
from platorep.files import digest, sha256_file
from platorep.parameters.figures import FIGURE_KINDS, FigureParameters, figure_names
from platorep.plugins import require_plugin
from platorep.results import Results
from platorep.run import Run
from platorep.stamps import code_stamps


def undrawn_figures(run: Run) -> list[str]:
    """Names of the experiment's figures that are not drawn from the tables as they are now."""
    drawn, inputs = _read(run.results.drawn, run.results), figure_inputs(run)
    return [
        name
        for name, made_from in inputs.items()
        if drawn.get(name, {}).get("made_from") != made_from
        or not _are_whole(run.results.figures, drawn[name]["files"])
    ]


def note_drawn(run: Run, name: str, files: Sequence[Path]) -> None:
    """Write down that a figure was drawn from the tables as they are now."""
    entry = {
        "made_from": figure_inputs(run)[name],
        "files": {file.name: sha256_file(file) for file in files},
    }
    names = figure_names(run.config.figures)

    def change(drawn: dict[str, Any]) -> None:
        for other in set(drawn) - set(names):
            del drawn[other]
        drawn[name] = entry

    run.results.update_json(run.results.drawn, change)


def figure_inputs(run: Run) -> dict[str, str]:
    """Name -> digest of all that decides a figure: its settings, the tables, the code."""
    common = [_tables(run), code_stamps(), version("matplotlib")]
    figures = run.config.figures
    return {
        name: digest([figure.model_dump(mode="json"), *common, *_code_of(figure)])
        for name, figure in zip(figure_names(figures), figures, strict=True)
    }


def _code_of(figure: FigureParameters) -> list[str]:
    """What tells the code of an installed package's figure from that of another version."""
    if figure.kind in FIGURE_KINDS:
        return []
    return require_plugin("figures", figure.kind, FIGURE_KINDS).identity()


def is_reported(run: Run) -> bool:
    """Whether there is a page of the results as they are now, whatever it was told to leave out."""
    page, entry = run.results.report, _read(run.results.reported, run.results)
    return (
        entry.get("made_from") == _reported_from(run)
        and page.is_file()
        and sha256_file(page) == entry.get("sha256")
    )


def note_reported(run: Run) -> None:
    """Write down that the page was made from the results as they are now."""
    results = run.results
    entry = {"made_from": _reported_from(run), "sha256": sha256_file(results.report)}
    results.write_json(results.reported, entry)


def _reported_from(run: Run) -> str:
    """Digest of all that decides the page, but what is on it of the rows."""
    settings = run.config.model_dump(mode="json", exclude={"figures", "report"})
    failures = run.results.failures
    failed = sha256_file(failures) if failures.is_file() else ""
    return digest([settings, _tables(run), failed, code_stamps()])


def _tables(run: Run) -> dict[str, str]:
    """The checksum of every table that there is, by the name of its file."""
    r = run.results
    further = [r.further(name) for name in run.config.align.further_tables()]
    paths = (r.best, r.scores, r.performance, r.models, r.gallery, r.layers, *further)
    return {path.name: sha256_file(path) for path in paths if path.is_file()}


def _read(path: Path, results: Results) -> dict[str, Any]:
    try:
        return results.read_json(path, "plot")
    except (AbsentError, DamagedError):
        return {}


def _are_whole(folder: Path, files: Mapping[str, str]) -> bool:
    return all(
        (folder / name).is_file() and sha256_file(folder / name) == checksum
        for name, checksum in files.items()
    )
