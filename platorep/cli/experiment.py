"""From the command line to a `Run`, and from what came out to stdout and an exit code."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platorep.cli.options import CommandLine, EngineName
from platorep.cli.running import others_on_stderr, print_table
from platorep.errors import ConfigError
from platorep.reporting import Reporter

if TYPE_CHECKING:
    from platorep.engines import Engine
    from platorep.run import Run


def open_experiment(line: CommandLine, *, bundles: bool = False) -> "Run":
    """The experiment that a command names, with what its options say.

    Args:
        bundles: Whether the command takes a bundle, which holds a finished experiment, too.
    """
    if line.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported: it looks once
    from platorep.config import config_path, load_config
    from platorep.config.paths import names_bundle

    overrides = list(line.overrides or [])
    overrides += [f"dataset.limit={line.limit}"] if line.limit is not None else []
    overrides += [f"extract.batch={line.batch_size}"] if line.batch_size is not None else []
    overrides += [f"report.rows={line.rows}"] if line.rows is not None else []
    overrides += ["report.images=false"] if line.no_images else []
    overrides += ["report.texts=false"] if line.no_texts else []
    if names_bundle(line.config):
        if not bundles:
            raise ConfigError(
                f"{line.config} is a bundle, a finished experiment to look at: `platorep score`, "
                "`report` and `plot` take it. This command takes an experiment file."
            )
        return _open_bundle(line, overrides)
    path = config_path(line.config)
    sys.path.append(str(path.absolute().parent))  # code of one's own may stand beside the file
    load_config(path, overrides)  # told before torch is imported

    from platorep.run import Options, open_run

    run = open_run(
        line.config,
        overrides=overrides,
        models=line.models or ["*"],
        output=line.output,
        options=Options(
            device=line.device,
            offline=line.offline,
            keep_going=line.keep_going,
            overwrite=line.overwrite.value,
            on_scores=line.on_scores,
        ),
        report=Reporter(line.verbosity),
    )
    return replace(run, engine=_engine(line, run.report))


def _open_bundle(line: CommandLine, overrides: Sequence[str]) -> "Run":
    """Nothing beside a bundle is put on Python's path: what it holds is no code."""
    from platorep.bundles import find_bundle
    from platorep.packing.opening import bundled_run
    from platorep.run import Options

    return bundled_run(
        find_bundle(line.config),
        output=line.output,
        overrides=tuple(overrides),
        models=line.models or ("*",),
        options=Options(device=line.device, offline=line.offline, keep_going=line.keep_going),
        report=Reporter(line.verbosity),
    )


def _engine(line: CommandLine, report: Reporter) -> "Engine":
    if line.engine is EngineName.ray:
        from platorep.engines.ray import RayEngine

        return RayEngine(line.address, report)
    if line.address is not None:
        raise ConfigError(f"--address {line.address} is of a cluster of Ray: add --engine ray.")
    from platorep.engines import LocalEngine

    return LocalEngine()


def typed(command: str, line: CommandLine) -> str:
    """What makes the same again, without paths of this machine."""
    words = ["platorep", command, Path(line.config).name]
    for override in line.overrides or ():
        words += ["--set", override]
    words += ["--limit", str(line.limit)] if line.limit is not None else []
    return shlex.join(words)


def finish(
    run: "Run",
    stage: Callable[["Run"], tuple[Sequence[Exception], Any]],
    line: CommandLine,
    *,
    shown: Callable[["Run", Any], Any] = lambda run, table: table,
    ending: Callable[["Run", Any], Sequence[str]] = lambda run, table: (),
) -> None:
    """Do the work, print its table, and only then end with the right exit code if cells failed.

    Args:
        shown: What people see of the table.
        ending: What they are told after it.
    """
    with others_on_stderr(), closing(run.engine):
        errors, table = stage(run)
    print_table(table if line.as_json else shown(run, table), line.as_json)
    sys.stdout.flush()
    for said in ending(run, table):
        run.report.say(said)
    if errors:
        from platorep.failures import failed_cells

        raise failed_cells(errors, run.results.failures)
