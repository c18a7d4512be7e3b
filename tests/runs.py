"""A `Run` for tests that call a stage by itself."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from platorep.config import ExperimentConfig, ModelSpec
from platorep.engines import Engine, LocalEngine
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Options, Run


def run_of(
    config: ExperimentConfig,
    results: Results | Path,
    root: Path,
    report: Reporter | None = None,
    specs: Iterable[ModelSpec] | None = None,
    engine: Engine | None = None,
    **options: Any,
) -> Run:
    """All models of `config` on the CPU, quietly, unless something else is said."""
    return Run(
        config=config,
        specs=config.models() if specs is None else tuple(specs),
        results=results if isinstance(results, Results) else Results(results),
        root=root,
        options=Options(**{"device": "cpu"} | options),
        report=report or Reporter(-1),
        engine=engine or LocalEngine(),
    )
