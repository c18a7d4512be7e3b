"""`platorep compare`: do the same model pairs rank the same in several experiments?"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from platorep.config import config_path, load_config
from platorep.errors import ConfigError, UnknownNameError
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.statistics import FEWEST_PAIRS, kendall_over_pairs

CONTROLS = ("random", "random_of", "changed_of", "repeat_of", "baseline")
"""Columns of models.csv that say of a model that it is no finding."""


def find_results(names: Sequence[str]) -> dict[str, Results]:
    """The folders of results, each under a name of its own.

    Args:
        names: Folders, experiment files, or names of shipped experiments, whose results are in
            `results/NAME`.

    Raises:
        ConfigError: fewer than two, the same one twice, or neither a folder nor an experiment.
    """
    folders = [_folder(name) for name in names]
    same = len({folder.resolve() for folder in folders}) < len(folders)
    if same or len(folders) < 2:
        found = ", ".join(map(str, folders)) or "none"
        raise ConfigError(f"compare needs two different experiments or more, found {found}.")
    short = [folder.resolve().name for folder in folders]
    own = short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    return {name: Results(folder) for name, folder in zip(own, folders, strict=True)}


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path("results") / load_config(config_path(name)).name
    except UnknownNameError as error:
        raise ConfigError(
            f"{name!r} is neither a folder of results nor an experiment. Give the folder that "
            f"`platorep run` wrote (such as results/mine), or the experiment's file. {error}"
        ) from error


def common_scores(experiments: Mapping[str, Results], report: Reporter) -> pd.DataFrame:
    """One row per metric, model pair and experiment: `score`, `n` and the families of the pair.

    Of models that are no control. A label `NAME (VIEW)` of a model that reads VIEW counts as NAME
    where no other scored model is called so: other captions are another experiment.
    A pair is on the sides on which the first experiment that has it puts it.

    Raises:
        AbsentError, DamagedError: a table is not there, or is not what was written.
    """
    sides: dict[frozenset[str], tuple[str, str]] = {}
    parts = []
    for name, results in experiments.items():
        best = results.read_table(results.best, "align", report)
        models = results.read_table(results.models, "extract", report)
        called = _names(models[models["label"].isin({*best["x"], *best["y"]})])
        best = best[(best["control"].fillna("") == "") & best["score"].notna()]
        best = best[best["x"].isin(called) & best["y"].isin(called)].reset_index(drop=True)
        part = best.assign(x=best["x"].map(called), y=best["y"].map(called), experiment=name)
        pairs = [
            sides.setdefault(frozenset(pair), pair)
            for pair in zip(part["x"], part["y"], strict=True)
        ]
        turned = part["x"].to_numpy() != np.array([x for x, _ in pairs], dtype=object)
        part["family"] = part["x_family"].where(~turned, part["y_family"])
        part[["x", "y"]] = pd.DataFrame(pairs, index=part.index, columns=["x", "y"])
        parts.append(part[["experiment", "metric", "x", "y", "family", "n", "score"]])
    return pd.concat(parts, ignore_index=True)


def warn_of_settings(experiments: Mapping[str, Results], report: Reporter) -> None:
    """Say where features were prepared in different ways: then it is not only the samples."""
    first, *others = experiments
    prepared = {a: of.read_json(of.run, "align").get("align", {}) for a, of in experiments.items()}
    settings = {a: found.get("settings", {}).get("preprocess") for a, found in prepared.items()}
    for other in others:
        if settings[other] != settings[first]:
            report.warn(
                f"{first} and {other} were aligned with different align.preprocess (run.json has "
                "it), so that more than the samples differs; `platorep align` brings both to the "
                "same"
            )


def _names(models: pd.DataFrame) -> dict[str, str]:
    """Label -> what a scored model is called, of those that are no control."""
    marks = models.reindex(columns=CONTROLS).astype(object)
    marks = marks.where(marks.notna(), "").astype(str)
    models = models[marks.isin(["", "False"]).all(axis=1)]
    labels = models["label"].astype(str)
    views = models["view"].fillna("").astype(str) if "view" in models else [""] * len(labels)
    short = [a.removesuffix(f" ({v})") if v else a for a, v in zip(labels, views, strict=True)]
    alone = {name for name in short if short.count(name) == 1}
    return {a: s if s in alone else a for a, s in zip(labels, short, strict=True)}


def consistency(scores: pd.DataFrame, names: Sequence[str], report: Reporter) -> pd.DataFrame:
    """Kendall's tau-b of every two experiments under every metric that both have, one row each.

    Args:
        scores: As `common_scores` has them.
        names: Of the experiments, in order.

    Raises:
        ConfigError: no two experiments have three model pairs in common under one metric.
    """
    rows: list[dict[str, Any]] = []
    for metric, of_metric in scores.groupby("metric", sort=False):
        wide = of_metric.pivot_table(
            index=["x", "y"], columns="experiment", values="score", sort=False
        )
        n = of_metric.groupby("experiment")["n"].max()
        for first, second in itertools.combinations([a for a in names if a in wide], 2):
            both = wide[[first, second]].dropna()
            pairs = both.index
            found = kendall_over_pairs(
                both[first].to_numpy(np.float64),
                both[second].to_numpy(np.float64),
                list(pairs.get_level_values("x")),
                list(pairs.get_level_values("y")),
            )
            rows.append(
                {"metric": metric, "first": first, "second": second}
                | {"tau": found.tau, "low": found.low, "high": found.high}
                | {"num_pairs": found.num_pairs, "num_models": found.num_models}
                | {"n_first": int(n[first]), "n_second": int(n[second])}
            )
    if max((row["num_pairs"] for row in rows), default=0) < FEWEST_PAIRS:
        raise ConfigError(_too_few(scores, names, rows))
    for row in rows:
        if row["num_pairs"] < FEWEST_PAIRS:
            report.warn(
                f"{row['first']} and {row['second']} have {row['num_pairs']} model pairs in common "
                f"under {row['metric']}; a correlation of ranks needs {FEWEST_PAIRS}"
            )
    return pd.DataFrame(rows)


def _too_few(scores: pd.DataFrame, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    columns = ["x", "y"] if rows else ["metric"]
    has = []
    for name in names:
        of_name = scores.loc[scores["experiment"] == name, columns]
        found = sorted(set(of_name.to_numpy().ravel()))
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        has.append(f"{name} has {', '.join(found[:8]) or 'none'}{more}")
    if not rows:
        return f"the experiments have no metric in common: {'; '.join(has)}."
    return (
        f"a correlation of ranks needs {FEWEST_PAIRS} pairs of trained models that are scored in "
        f"both experiments, and no two have them. Models are joined by their labels: "
        f"{'; '.join(has)}. Give the same models the same `label`."
    )
