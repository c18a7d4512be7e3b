"""The settings that the scores were made with, and what has changed since."""

import json
from typing import Any

import yaml

from platorep.config import ExperimentConfig
from platorep.config.recorded import recorded_config
from platorep.errors import ConfigError
from platorep.opened import Opened
from platorep.results import changes, without_effect_removed, without_paths

LONGEST_VALUE = 40
MOST_CHANGES = 5


def scored_config(opened: Opened) -> ExperimentConfig:
    """The experiment as it was when it was scored; as its file says if this version cannot read
    what it was."""
    run = opened.results.read_json(opened.results.run, "extract")
    scored = {"align": run["align"]["settings"]} if "align" in run else {}
    try:
        return recorded_config(run["config"] | scored)
    except ConfigError:
        return opened.run.config


def changes_since(opened: Opened, scored: ExperimentConfig) -> list[str]:
    """A sentence, if the experiment's file says otherwise now in what moves a number; of a path
    only the last part counts."""
    before, now = (
        without_paths(without_effect_removed(config.model_dump(mode="json")))
        for config in (scored, opened.run.config)
    )
    changed = changes(before, now)
    if not changed:
        return []
    said = [f"{name}{_values(*values)}" for name, values in [*changed.items()][:MOST_CHANGES]]
    more = f"; and {len(changed) - MOST_CHANGES} more" if len(changed) > MOST_CHANGES else ""
    return [
        f"The experiment's file has changed since: {'; '.join(said)}{more}. The scores, and the "
        "settings on this page, are of what it said before."
    ]


def _values(before: Any, now: Any) -> str:
    old, new = (json.dumps(value, ensure_ascii=False) for value in (before, now))
    return f" ({old}, now {new})" if max(len(old), len(new)) <= LONGEST_VALUE else ""


def settings_text(config: ExperimentConfig) -> str:
    """The experiment's file without defaults, and without paths of the machine it was run on."""
    said = config.model_dump(mode="json", exclude_defaults=True, exclude={"figures", "report"})
    for entry, measure in zip(said.get("performance", ()), config.performance, strict=True):
        entry["name"] = measure.name
    text = yaml.safe_dump(without_paths(said), sort_keys=False, allow_unicode=True, width=100)
    return f"# Without defaults: `platorep list keys` has them.\n{text}"
