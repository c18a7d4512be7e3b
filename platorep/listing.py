"""Tables of what there is: models, metrics, figures, shipped experiments."""

import fnmatch
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from platorep.config import DatasetConfig, load_config, shipped_configs
from platorep.config.experiment import model_specs
from platorep.config.keys import keys
from platorep.config.models import BACKENDS
from platorep.config.reading import Command
from platorep.errors import PlatorepError
from platorep.kinds import KINDS, find_kind
from platorep.metrics import METRICS, bind
from platorep.metrics.claims import check_claims
from platorep.parameters.views import CHANGES, Change
from platorep.plugins import Group, listed_plugin, plugin_names, require_plugin
from platorep.reporting import Reporter

EVERY_KIND = DatasetConfig.model_validate(
    {"source": "toyworld", "views": {kind: {} for kind in ("text", "image", "audio", "video")}}
)
"""What a model is described as reading; nothing of it is made."""


def listing(
    what: str, pattern: str, *, offline: bool = False, report: Reporter | None = None
) -> pd.DataFrame:
    """A table of the things called `what` whose name matches `pattern`, those of installed packages
    included; one that cannot be used is told.

    A whole name of a model, or a folder, is described.

    Raises:
        AbsentError, ConfigError: there is no such folder or hub repository, or it is no model.
    """
    rows: list[dict[str, Any]]
    report = report or Reporter(0)
    if what == "models" and _is_one_model(pattern):
        return _described(pattern, offline=offline)
    if what == "models":
        import timm

        rows = [{"backend": "timm", "name": name} for name in timm.list_models(pretrained=True)]
        rows = _with_plugins(rows, "backends", BACKENDS, _of_backend, report)
    elif what == "keys":
        rows = keys(pattern)
        return pd.DataFrame(rows, columns=["key", "type", "default", "about"])
    elif what == "kinds":
        rows = [_of_kind(name) for name in KINDS]
        rows = _with_plugins(rows, "kinds", KINDS, _of_kind, report)
    elif what == "changes":
        rows = [_of_change(name, change) for name, change in CHANGES.items()]
    elif what == "metrics":
        rows = [_of_metric(name) for name in METRICS]
        rows = _with_plugins(rows, "metrics", METRICS, _of_metric, report)
    elif what == "figures":
        from platorep.plots import FIGURES

        rows = [_of_figure(name) for name in FIGURES]
        rows = _with_plugins(rows, "figures", FIGURES, _of_figure, report)
    else:
        rows = [
            {"name": name, "command": _command(command, name, path), "about": _first_words(path)}
            for command in get_args(Command)
            for name, path in shipped_configs(command).items()
        ]
    found = [row for row in rows if fnmatch.fnmatch(str(row["name"]), pattern)]
    return pd.DataFrame(found, columns=list(rows[0]) if rows else ["name"])


def _with_plugins(
    rows: list[dict[str, Any]],
    group: Group,
    built_in: Collection[str],
    describe: Callable[[str], dict[str, Any]],
    report: Reporter,
) -> list[dict[str, Any]]:
    """Also those of installed packages, with a column that says of which."""
    added = []
    for name in plugin_names(group):
        try:
            plugin = listed_plugin(group, name, built_in)
            added.append(describe(name) | {"package": plugin.package})
        except PlatorepError as error:
            report.warn(str(error))
    return [row | {"package": ""} for row in rows] + added if added else rows


def in_short(table: pd.DataFrame) -> pd.DataFrame:
    """A table for a person: lists of layers by their ends, and nothing that is empty."""
    short = table.copy()
    for column in short:
        short[column] = short[column].map(_ends)
    return short


def _ends(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(set(value)) == 1 and len(value) > 1:
        return f"{len(value)} x {value[0]}"
    return ", ".join(map(str, value)) if len(value) < 8 else f"{value[0]} ... {value[-1]}"


def _is_one_model(name: str) -> bool:
    """Whether it is a whole name, and no pattern."""
    if any(character in name for character in "*?["):
        return False
    from platorep.models.recognised import is_of_timm

    return "/" in name or ":" in name or Path(name).exists() or is_of_timm(name)


def _described(name: str, *, offline: bool) -> pd.DataFrame:
    """One row per kind of view that a model reads, with its side."""
    from platorep.models import open_model
    from platorep.models.recognised import MODALITIES, recognise

    found = recognise(name, offline=offline)
    rows = []
    for part in found.parts:
        family = found.family(MODALITIES[part.kind], part.side)
        (spec,) = model_specs((family,), EVERY_KIND)
        said = open_model(spec, offline=offline).describe()
        row: dict[str, Any] = {"name": found.name, "backend": found.backend, "reads": part.kind}
        row |= {"modality": family.modality, "side": part.side}
        row |= {"parameters": said.parameters, "num_layers": len(said.layers or ())}
        row |= {"layers": list(said.layers or ()), "widths": list(said.widths or ())}
        row |= {
            "pools": list(said.pools),
            "tap": said.tap,
            "note": None if said.layers else "; ".join(said.unknown),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _of_backend(name: str) -> dict[str, Any]:
    """What an installed package opens is known to the package alone."""
    plugin = require_plugin("backends", name, BACKENDS)
    plugin.load()
    return {"backend": name, "name": plugin.path}


def _of_figure(name: str) -> dict[str, Any]:
    from platorep.plots import figure_kind

    return {"name": name, "about": (figure_kind(name).parameters.__doc__ or "").splitlines()[0]}


def _of_kind(name: str) -> dict[str, Any]:
    kind = find_kind(name)
    return {
        "name": kind.name,
        "endings": ", ".join(kind.endings),
        "changes": ", ".join(name for name, one in CHANGES.items() if one in kind.changes),
    }


def _of_change(name: str, change: type[Change]) -> dict[str, Any]:
    parameters = [field for field in change.model_fields if field not in ("of", "change")]
    about = (change.__doc__ or "").splitlines()[0]
    return {
        "name": name,
        "kind": change.kind,
        "parameters": ", ".join(parameters),
        "about": about,
    }


def _command(command: Command, name: str, path: Path) -> str:
    """What to type for a shipped file: the study that it has settings of, or the whole run."""
    if command == "run":
        config = load_config(path)
        studies = [
            f"{group} {study}"
            for group, section in (("bridge", config.bridge), ("units", config.units))
            for study in section.model_fields_set
        ]
        if len(studies) == 1:
            return f"platorep {studies[0]} {name}"
    return f"platorep {command} {name}"


def _first_words(path: Path) -> str:
    """The first sentence, or line, of a file's comment."""
    comment = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
    return comment.partition(". ")[0]


def checked_claims(name: str) -> pd.DataFrame:
    """One row per claim of a metric (with its default parameters): whether it holds."""
    return pd.DataFrame([asdict(claim) for claim in check_claims(bind(name))])


def _of_metric(name: str) -> dict[str, Any]:
    """A metric with its default parameters, and what it claims."""
    metric = bind(name)
    claims = metric.claims
    known = {} if name not in METRICS else type(metric.parameters).model_fields
    return {
        "name": metric.name,
        "parameters": ", ".join(known),
        "range": f"{claims.low:g} to {claims.high:g}",
        "closer": "larger" if claims.larger_is_closer else "smaller",
        "symmetric": claims.symmetric,
        "cost": f"per {claims.cost}",
        "invariances": ", ".join(sorted(i.value for i in claims.invariances)),
    }
