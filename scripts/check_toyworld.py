"""What a finished toy-world run says of the hypothesis, as a table, with its controls.

    python scripts/check_toyworld.py results/toyworld [results/toyworld-flat ...]

A folder whose world is flat (uniform_share: 1, pairs: same_place) is held to chance, one with
several captions per scene to alignment that rises with what they tell, one with sounds and films to
alignment of every two senses that rises with size, any other to the hypothesis.
The last column says whether what is wanted holds; rows without it only inform.
Exit code 1 if something wanted does not hold.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from platorep.plots.labels import training_step
from platorep.results import Results
from platorep.statistics import mean_spearman_within, partial_spearman, spearman


def read_pairs(folder: Path) -> pd.DataFrame:
    """One row per model pair and control, with what the statistics need of both models.

    Added to the columns of best.csv: `bits_per_byte` and `step` (training steps) of x, and for both
    sides `twin` (the trained model that a random-weight copy belongs to) and `size` (parameters).
    """
    results = Results(folder)
    best = results.read_table(results.best, "align")
    best = best[best["metric"] == best["metric"].iloc[0]]
    models = results.read_table(results.models, "extract").set_index("label")
    measured = pd.Series(dtype=float)
    if results.performance.exists():  # vision networks alone have none
        performance = results.read_table(results.performance, "measure")
        rows = performance[performance["measure"] == "bits_per_byte"]
        measured = rows.set_index("model")["value"]
    if "changed_of" in models:
        copies = models.index[models["changed_of"].fillna("") != ""]
        best = best[~best["x"].isin(copies) & ~best["y"].isin(copies)]
    best = best.assign(bits_per_byte=best["x"].map(measured), step=best["x"].map(training_step))
    for side in "xy":
        twin = models["random_of"].where(models["random"].astype(bool), models.index.to_series())
        best[f"{side}_twin"] = best[side].map(twin)
        best[f"{side}_size"] = best[side].map(models["num_parameters"]).astype(float)
    return best


def language_vision(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs[(pairs["x_modality"] == "language") & (pairs["y_modality"] == "vision")]


def trained(pairs: pd.DataFrame) -> pd.DataFrame:
    random = pairs["x_random"].astype(bool) | pairs["y_random"].astype(bool)
    return pairs[~random & (pairs["control"] == "")]


def final(pairs: pd.DataFrame) -> pd.DataFrame:
    """Only the last checkpoint of every language model."""
    return pairs[pairs["step"].isna() | (pairs["step"] == pairs["step"].max())]


def _partial(rows: pd.DataFrame) -> float:
    """The same with the training step held fixed."""
    x, y = (-rows["bits_per_byte"]).to_numpy(float), rows["score"].to_numpy(float)
    return partial_spearman(x, y, rows["step"].to_numpy(float)).value


def within_steps(rows: pd.DataFrame) -> float:
    """Mean over steps of Spearman's correlation over the models of one step."""
    x, y = (-rows["bits_per_byte"]).to_numpy(float), rows["score"].to_numpy(float)
    return mean_spearman_within(x, y, list(rows["step"]))


def _spearman(rows: pd.DataFrame) -> float:
    return spearman((-rows["bits_per_byte"]).to_numpy(float), rows["score"].to_numpy(float)).value


class Table:
    """The rows of the report."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []
        self.failed = False

    def add(self, what: str, value: object, wanted: str = "", holds: bool | None = None) -> None:
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        self.rows.append((what, text, wanted, "" if holds is None else "yes" if holds else "NO"))
        self.failed |= holds is False

    def print(self, title: str) -> None:
        frame = pd.DataFrame(self.rows, columns=["statistic", "value", "wanted", "holds"])
        left = frame.assign(statistic=frame["statistic"].str.ljust(62))
        print(f"\n{title}\n{left.to_string(index=False, justify='left')}")


def hypothesis(pairs: pd.DataFrame, table: Table) -> None:
    """Scaling with competence and size, margins over the controls, alignment with the truth."""
    both = language_vision(pairs)
    known = trained(both)
    for name, rows in known.groupby("y", sort=False):
        if rows["step"].nunique() > 1:
            pooled = _spearman(rows)
            table.add(f"{name}: Spearman(-bits per byte, alignment), all checkpoints", pooled,
                      ">= 0.7", pooled >= 0.7)  # fmt: skip
            table.add(f"{name}: the same at fixed training step (partial)", _partial(rows))
            table.add(f"{name}: the same within each step, mean", within_steps(rows))
        last = final(rows)
        table.add(f"{name}: the same over the {len(last)} final checkpoints", _spearman(last))
    for kind, rows in known.groupby(known["y"].str.extract(r"^([a-z]+)", expand=False), sort=False):
        sizes = rows.groupby(["x", "y_size"])["score"].mean().unstack()  # the mean over seeds
        if sizes.shape[1] > 1:
            rising = int((sizes.diff(axis=1).iloc[:, 1:] > 0).all(axis=1).sum())
            table.add(f"language models at which alignment rises with the size of {kind}",
                      f"{rising} of {len(sizes)}", "all", rising == len(sizes))  # fmt: skip
    _margins(both, table)
    _shuffled(both, table)
    for name, rows in pairs[pairs["y_modality"] == "truth"].groupby("x_twin", sort=False):
        real = rows[rows["control"] == ""]
        copy = real.loc[real["x_random"].astype(bool), "score"]
        own = float(real.loc[~real["x_random"].astype(bool), "score"].iloc[0])
        beside = f" (random weights {copy.iloc[0]:.3f})" if len(copy) else ""
        table.add(f"{name} with the truth", f"{own:.3f}{beside}")


def _margins(both: pd.DataFrame, table: Table) -> None:
    """The largest trained pair against the same with random weights on one side or on both."""
    real = both[both["control"] == ""]
    largest = final(trained(both)).sort_values(["x_size", "y_size"]).iloc[-1]
    own = float(largest["score"])
    twins = real[(real["x_twin"] == largest["x"]) & (real["y_twin"] == largest["y"])]
    table.add(f"{largest['x']} x {largest['y']}", own)
    for x, y in ((True, False), (False, True), (True, True)):
        row = twins[(twins["x_random"].astype(bool) == x) & (twins["y_random"].astype(bool) == y)]
        if len(row):
            sides = "both" if x and y else largest["x_modality"] if x else largest["y_modality"]
            value = float(row["score"].iloc[0])
            table.add(f"  random weights in {sides}", value, "< 0.6 of it", value < 0.6 * own)


def _shuffled(both: pd.DataFrame, table: Table) -> None:
    """Shuffled pairs beside the permutation null, which takes the maximum over layers as well."""
    shuffled, real = both[both["control"] == "shuffled"], trained(both)
    if len(shuffled):
        table.add("shuffled pairs, mean", float(shuffled["score"].mean()))
    if "threshold" in real and real["threshold"].notna().any():
        high = float(real["null_mean"].mean() + 4 * real["null_sd"].mean())
        table.add("permutation null, mean", float(real["null_mean"].mean()))
        if len(shuffled):
            most = float(shuffled["score"].max())
            table.add("shuffled pairs, highest", most, f"< {high:.4f} (mean + 4 sd)", most < high)
        adjusted = real["p_adjusted"]
        table.add("trained pairs significant at .05, corrected",
                  f"{int((adjusted < 0.05).sum())} of {len(real)}", "all",
                  bool((adjusted < 0.05).all()))  # fmt: skip


def chance(pairs: pd.DataFrame, table: Table) -> None:
    """Alignment at chance, at every checkpoint, although bits per byte fall."""
    known = trained(language_vision(pairs))
    first, last = known[known["step"] == known["step"].min()], final(known)
    fell = float(first["bits_per_byte"].mean() - last["bits_per_byte"].mean())
    table.add("bits per byte, first to last checkpoint", f"-{fell:.3f}", "falls", fell > 0.05)
    table.add("trained pairs, mean score", float(known["score"].mean()))
    significant = int((known["p_adjusted"] < 0.05).sum())
    table.add("permutation null, mean", float(known["null_mean"].mean()))
    table.add("trained pairs significant at .05, corrected",
              f"{significant} of {len(known)}", "none", significant == 0)  # fmt: skip
    table.add("Spearman(-bits per byte, alignment), all checkpoints", _spearman(known))


def families(pairs: pd.DataFrame, table: Table) -> None:
    """Mean alignment of two families of vision models (toyworld-tasks)."""
    vision = pairs[(pairs["x_modality"] == "vision") & (pairs["y_modality"] == "vision")]
    for key, rows in trained(vision).groupby(["x_family", "y_family"], sort=False):
        spread = f"{rows['score'].mean():.3f} +- {rows['score'].std():.3f} ({len(rows)} pairs)"
        table.add(f"{key[0]} x {key[1]}", spread)


def density(pairs: pd.DataFrame, folder: Path, table: Table) -> None:
    """Mean alignment by caption level (toyworld-density), with what it must be held against."""
    results = Results(folder)
    models = results.read_table(results.models, "extract").set_index("label")
    pairs = pairs.assign(
        view=pairs["x"].map(models["view"]), num_words=pairs["x"].map(models["num_words"])
    )
    for other in ("vision", "truth"):
        known = pairs[(pairs["y_modality"] == other) & pairs["score"].notna()]
        own, control = trained(known), known["control"] == "shuffled"
        y_random = known["y_random"].astype(bool)
        random = known[~control & known["x_random"].astype(bool) & ~y_random]
        for view, rows in own.groupby("view"):
            beside = {
                "random language models": random[random["view"] == view],
                "shuffled": known[control & (known["view"] == view)],
            }
            others = ", ".join(
                f"{name} {part['score'].mean():.3f}" for name, part in beside.items() if len(part)
            )
            table.add(f"{view}, with {other}: mean of {len(rows)} pairs, "
                      f"{rows['num_words'].iloc[0]:.1f} words",
                      f"{rows['score'].mean():.3f} ({others})")  # fmt: skip
        lines = own.assign(model=own["x"].str.split(" (", regex=False).str[0])
        for (x, y), rows in lines.groupby(["model", "y"]):
            first, last = (rows.sort_values("num_words")["score"].iloc[i] for i in (0, -1))
            table.add(f"{x} x {y}: most told against least told", f"{first:.3f} to {last:.3f}",
                      "rises", bool(last > first))  # fmt: skip


def senses(pairs: pd.DataFrame, table: Table) -> None:
    """Alignment of every two senses, and of each with the truth, from small to large networks."""
    for (x, y), rows in pairs.groupby(["x_modality", "y_modality"], sort=False):
        known = trained(rows).fillna({"y_size": 0})  # the truth has no size
        scores = known.pivot(index="x_size", columns="y_size", values="score").to_numpy(float)
        table.add(f"{x} x {y}: mean, smallest to largest networks",
                  f"{scores.mean():.3f}, {scores[0, 0]:.3f} to {scores[-1, -1]:.3f}",
                  "rises", bool(scores[-1, -1] > scores[0, 0]))  # fmt: skip
        for axis, sense in enumerate((x, y)):
            steps = np.diff(scores, axis=axis)
            if steps.size:
                rising = f"{(steps > 0).sum()} of {steps.size}"
                table.add(f"  steps to the next size of {sense} at which it rises", rising)
        _margins(rows, table)
    _shuffled(pairs, table)


def main(folders: list[str]) -> int:
    failed = False
    for folder in map(Path, folders):
        pairs, table = read_pairs(folder), Table()
        results = Results(folder)
        dataset = results.read_json(results.run, "extract")["dataset"]
        if _is_flat(dataset):
            chance(pairs, table)
        elif any(view.get("level") for view in dataset.get("views", {}).values()):
            density(pairs, folder, table)
        elif "audio" in set(pairs["x_modality"]):
            senses(pairs, table)
        else:
            if len(language_vision(pairs)):
                hypothesis(pairs, table)
            families(pairs, table)
        table.print(str(folder))
        failed |= table.failed
    return int(failed)


def _is_flat(dataset: dict[str, object]) -> bool:
    world = dataset.get("world")
    assert isinstance(world, dict), "not a run in the toy world"
    return world["uniform_share"] == 1 and world["pairs"] == "same_place"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
