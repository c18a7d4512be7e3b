"""Tables of what there is: models, metrics, figures, shipped experiments."""

import fnmatch
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from platorep.config import shipped_configs
from platorep.config.reading import Command
from platorep.metrics import METRICS, BoundMetric, bind
from platorep.metrics.claims import check_claims


def listing(what: str, pattern: str) -> pd.DataFrame:
    """A table of the things called `what` whose name matches `pattern`."""
    rows: list[dict[str, Any]]
    if what == "models":
        import timm

        rows = [{"backend": "timm", "name": name} for name in timm.list_models(pretrained=True)]
    elif what == "metrics":
        rows = [_of_metric(bind(name)) for name in METRICS]
    elif what == "figures":
        from platorep.plots import FIGURES

        rows = [
            {"name": name, "about": (figure.parameters.__doc__ or "").splitlines()[0]}
            for name, figure in FIGURES.items()
        ]
    else:
        rows = [
            {"name": name, "command": f"platorep {command} {name}", "about": _first_words(path)}
            for command in get_args(Command)
            for name, path in shipped_configs(command).items()
        ]
    found = [row for row in rows if fnmatch.fnmatch(str(row["name"]), pattern)]
    return pd.DataFrame(found, columns=list(rows[0]) if rows else ["name"])


def _first_words(path: Path) -> str:
    """The first sentence, or line, of a file's comment."""
    comment = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
    return comment.partition(". ")[0]


def checked_claims(name: str) -> pd.DataFrame:
    """One row per claim of a metric (with its default parameters): whether it holds."""
    return pd.DataFrame([asdict(claim) for claim in check_claims(bind(name))])


def _of_metric(metric: BoundMetric) -> dict[str, Any]:
    """A metric with its default parameters, and what it claims."""
    claims = metric.claims
    return {
        "name": metric.name,
        "parameters": ", ".join(type(metric.parameters).model_fields),
        "range": f"{claims.low:g} to {claims.high:g}",
        "closer": "larger" if claims.larger_is_closer else "smaller",
        "symmetric": claims.symmetric,
        "cost": f"per {claims.cost}",
        "invariances": ", ".join(sorted(i.value for i in claims.invariances)),
    }
