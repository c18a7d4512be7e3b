"""`platorep check`: can a model's features be trusted?"""

import os
from typing import TYPE_CHECKING

from platorep.cli.options import TALK, CommandLine
from platorep.cli.running import others_on_stderr, print_table
from platorep.errors import ConfigError
from platorep.reporting import Reporter

if TYPE_CHECKING:
    from platorep.config import ExperimentConfig

CHECK = (
    *("names", "data", "overrides", "modality", "checks", "limit", "device", "offline"),
    *("by_layer", *TALK),
)


def check(line: CommandLine) -> None:
    """Can a model's features be trusted? Batches, precision, attention, device, a saved copy.

    Reads the same samples again with one thing changed. Exit code 5 if features or neighbors move
    by more than rounding explains; docs/check.md says what to do then.
    """
    if line.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported
    config = _experiment(line)
    from platorep.checking import Asked, by_layer, check_models, in_short

    assert line.limit is not None, "it has a default"
    asked = Asked(
        models=line.names or [],
        config=config,
        modality=line.modality,
        checks=line.checks or ["*"],
        limit=line.limit,
        device=line.device,
        offline=line.offline,
    )
    with others_on_stderr():
        trouble, table = check_models(asked, Reporter(line.verbosity))
    if line.by_layer:
        table = by_layer(table)
    elif not line.as_json:
        table = in_short(table)
    print_table(table, line.as_json)
    if trouble is not None:
        raise trouble


def _experiment(line: CommandLine) -> "ExperimentConfig | None":
    """The experiment whose rows are read; None: those of the toy world."""
    from platorep.config import config_path, load_config

    if line.data is not None:
        return load_config(config_path(line.data), line.overrides or [])
    if line.overrides:
        raise ConfigError("--set replaces values of an experiment: name one by --data.")
    return None
