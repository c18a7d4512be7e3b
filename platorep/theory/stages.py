"""The stages of `platorep theory`: each works out its tables and writes them."""

from dataclasses import dataclass

import pandas as pd

from platorep.config import ColorConfig
from platorep.failures import Failures
from platorep.files import digest
from platorep.models import environment, resolve_device
from platorep.parameters.theory import PmiConfig
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Options
from platorep.theory import color
from platorep.theory.pmi import kernels_table, num_trainings, worlds_table


def learn_pmi(
    config: PmiConfig, results: Results, report: Reporter
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train the learners, write `worlds.csv` and `kernels.csv`; the kernels and pairs."""
    worlds = worlds_table(config)
    with report.task(f"train {config.name}", num_trainings(config), "pairs of learners") as advance:
        kernels, pairs = kernels_table(config, progress=advance)
    made_from = {"settings": digest(config.model_dump(mode="json"))}
    results.write_table(results.folder / "worlds.csv", worlds, made_from)
    results.write_table(results.folder / "kernels.csv", kernels, made_from)
    results.record("theory", {"config": config.model_dump(mode="json")})
    return kernels, pairs


@dataclass(frozen=True)
class Colors:
    """Where the colours lie in each space, and how alike the spaces are."""

    geometry: pd.DataFrame
    agreement: pd.DataFrame
    failures: Failures


def compare_colors(
    config: ColorConfig, results: Results, options: Options, report: Reporter
) -> Colors:
    """Work out the spaces of the colours, compare them, and write all tables."""
    failures = Failures("theory", results.failures, report, options.keep_going)
    device = resolve_device(options.device)
    words, cells = color.word_list(config), color.grid(config)
    spaces = color.perception_spaces(config, words)
    counts: list[pd.DataFrame] = []
    for images in config.images:
        with failures.catch(images.name):
            seen, table = color.vision_spaces(
                config, images, words, cells, report, offline=options.offline
            )
            spaces += seen
            counts.append(table)
    specs = config.models()
    for spec in specs:
        with failures.catch(spec.label):
            spaces += color.language_spaces(
                config, spec, words, device, report, offline=options.offline
            )
    failures.raise_if_all(len(config.images) + len(specs))
    spaces = color.with_cells_of_perception(spaces, cells)

    geometry = color.geometry_table(spaces, words, cells)
    agreement = color.agreement_table(config, spaces)
    tables = {
        "words": color.words_table(words),
        "distances": color.distances_table(spaces, words, cells),
        "geometry": geometry,
        "agreement": agreement,
    }
    if counts:
        tables["counts"] = pd.concat(counts, ignore_index=True)
    made_from = {"settings": digest(config.model_dump(mode="json"))}
    for name, table in tables.items():
        results.write_table(results.folder / f"{name}.csv", table, made_from)
    results.record(
        "theory",
        {
            "config": config.model_dump(mode="json"),
            "environment": environment(device),
            "failed": sorted(failures.errors),
            "warnings": report.warnings,
        },
    )
    return Colors(geometry, agreement, failures)
