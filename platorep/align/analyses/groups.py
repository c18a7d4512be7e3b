"""On which rows and groups of rows models agree, and what they share of a group: the tables
`row_scores` and `groups`.

Axes: n rows, d features, g groups.
"""

from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from platorep.align.analyses.context import Context, Found
from platorep.align.asked import Asked
from platorep.align.groups import groups_of_rows
from platorep.align.summaries import budget_bytes
from platorep.config.analyses import GroupsConfig
from platorep.errors import ConfigError, IntegrityError
from platorep.files import digest
from platorep.metrics import Summary
from platorep.metrics.neighbors import NeighborLists, stack
from platorep.statistics import Correction, calibrate, corrected, subsamples
from platorep.statistics.groups import (
    Entries,
    Grouping,
    expected_shared,
    grouping_of,
    membership_p,
    shared_null,
    shared_parts,
)
from platorep.statistics.permutations import Permutations

NAME = "groups-1"  # of its pieces; another number when the meaning of a column changes
OTHERS = 2
"""Others in a group for each neighbor: with fewer, most of what is shared is chance."""
ROW_COLUMNS = ("x", "y", "metric", "id", "score")
COLUMNS = (
    *("x", "y", "metric", "by", "group", "num_rows", "score", "chance"),
    *("null_low", "null_high", "p", "p_adjusted"),
    *("coarse", "p_fine", "p_fine_adjusted", "same", "coarse_same", "p_fine_same", "p_fine_other"),
    *("alone", "alone_chance", "p_alone", "alone_random"),
)


def analyse_groups(context: Context, settings: GroupsConfig) -> Found:
    """The score of every row of every pair, and of every group, at the layers that were chosen.

    Of metrics that are means over rows; what is shared of groups, of `mutual_knn` alone.

    Raises:
        ConfigError: no metric of the experiment is a mean over rows, or there are fewer rows than
            clusters.
        AbsentError, DataError: the file of groups is not there or lacks a row; a word is in no
            text.
    """
    best = context.best
    usable = {a.label for a in context.asked if a.metric.has_rows}
    if not usable:
        raise ConfigError(
            "align.groups: no metric of this experiment is a mean over rows. Add mutual_knn to "
            "align.metrics."
        )
    chosen = (best["control"] == "") & (best["layer_x"] >= 0) & best["metric"].isin(usable)
    pairs = best[chosen]
    layers, groups = _Layers(context, pairs), _Groups(context, settings)
    of_rows, of_groups = [pd.DataFrame(columns=[*ROW_COLUMNS])], [pd.DataFrame(columns=[*COLUMNS])]
    asked = [_Pair(context, settings, row, layers, groups) for _, row in pairs.iterrows()]
    if any(context.will_make(NAME, pair.decides) for pair in asked):
        _ = groups.of_all_pairs  # what is wrong with them is one failure, not one of each pair
    with context.run.report.task("groups", len(pairs), "pairs") as advance:
        for pair, (_, row) in zip(asked, pairs.iterrows(), strict=True):
            labels = {"x": row["x"], "y": row["y"], "metric": row["metric"]}
            with context.failures.catch(f"groups of {row['x']} x {row['y']}, {row['metric']}"):
                made = context.kept(NAME, pair.decides, pair.made)
                scores = {"id": context.rows["id"], "score": np.array(made["rows"], dtype=float)}
                of_rows.append(pd.DataFrame(labels | scores))
                of_groups.append(pd.DataFrame(made["groups"]).assign(**labels))
            advance(1)
    table = pd.concat([part for part in of_groups if len(part)] or of_groups, ignore_index=True)
    table = _corrected(table.reindex(columns=[*COLUMNS]), context.config.null.correction)
    rows = pd.concat([part for part in of_rows if len(part)] or of_rows, ignore_index=True)
    return Found(tables={"groups": table, "row_scores.parquet": rows[[*ROW_COLUMNS]]})


def _corrected(table: pd.DataFrame, correction: Correction) -> pd.DataFrame:
    """Over the groups of all pairs of one metric and one division; all samples apart."""
    for _, tests in table.groupby(["metric", "by", table["group"] == ""], sort=False):
        for p in ("p", "p_fine"):
            values = tests[p].to_numpy(dtype=float)
            table.loc[tests.index, f"{p}_adjusted"] = corrected(values, correction)
    return table


class _Layers:
    """The layers that pairs were chosen at, kept as far as the memory for summaries goes."""

    def __init__(self, context: Context, pairs: pd.DataFrame) -> None:
        self._context = context
        self._needed: dict[str, set[int]] = {}
        for side in ("x", "y"):
            for label, layer in zip(pairs[side], pairs[f"layer_{side}"], strict=True):
                self._needed.setdefault(label, set()).add(int(layer))
        self._kept: dict[str, dict[int, Tensor]] = {}

    def at(self, label: str, layer: int) -> Float[Tensor, "n d"]:
        if label not in self._kept:
            device = self._context.device
            bytes_kept = sum(z.nbytes for of in self._kept.values() for z in of.values())
            if bytes_kept > budget_bytes(self._context.config, device):
                self._kept.clear()
            layers = self._context.prepared(label)
            needed = self._needed[label]
            self._kept[label] = {i: layers[i].to(device, copy=True) for i in needed}
        return self._kept[label][layer]


class _Groups:
    """The groups of the rows by each division: of a file, of words, of clusters."""

    def __init__(self, context: Context, settings: GroupsConfig) -> None:
        self._context, self._settings = context, settings
        self._clusters: dict[tuple[str, int], Grouping] = {}

    @cached_property
    def decides(self) -> str:
        """Names what the groups of all pairs are made of, without reading any text."""
        settings, rows = self._settings, self._context.rows
        view = f"{settings.view}_sha256"
        texts = list(rows[view]) if settings.words else []
        said = settings.model_dump(mode="json", exclude={"file"})
        return digest([said, self._of_file, texts])

    @cached_property
    def _of_file(self) -> list[str]:
        file, results = self._settings.file, self._context.run.results
        found = [] if file is None else groups_of_rows(file, "align.groups.file", results)
        return found[: self._context.n]

    @cached_property
    def of_all_pairs(self) -> dict[str, Grouping]:
        found = {"file": grouping_of(self._of_file)} if self._of_file else {}
        if words := self._settings.words:
            from platorep.data import load_dataset  # finished groups need none of it
            from platorep.data.words import texts_with_words

            run = self._context.run
            dataset = load_dataset(run.config.dataset, offline=run.options.offline)
            view = dataset.views[self._settings.view]
            n, rows = self._context.n, self._context.rows
            if view.hashes[:n] != tuple(rows[f"{view.name}_sha256"]):
                raise IntegrityError(
                    f"the texts of the view {view.name!r} are others than were extracted. Run "
                    "`platorep extract` with this experiment again."
                )
            assert view.texts is not None, "a view of texts"
            members = texts_with_words(view.texts[:n], words, "align.groups.words")
            names = tuple(word.split("/")[0] for word in words)
            found["words"] = Grouping(names, members)
        return found

    def clusters(self, label: str, layer: int, features: Float[Tensor, "n d"]) -> Grouping:
        """Of one layer, the largest first."""
        if (label, layer) not in self._clusters:
            from sklearn.cluster import KMeans  # takes long to import

            number = self._settings.clusters
            if number > len(features):
                raise ConfigError(
                    f"align.groups.clusters: {number} of {len(features)} rows; ask for fewer."
                )
            means = KMeans(number, n_init=3, random_state=self._settings.seed)
            of_rows = means.fit_predict(features.double().cpu().numpy())
            order = np.argsort(-np.bincount(of_rows, minlength=number), kind="stable")
            place = np.argsort(order)[of_rows]
            names = tuple(f"cluster {i + 1}" for i in range(number))
            members = place[:, None] == np.arange(number)
            self._clusters[label, layer] = Grouping(names, members)
        return self._clusters[label, layer]


class _Pair:
    """One row of best.csv: two models at the layers that one metric has chosen."""

    def __init__(
        self,
        context: Context,
        settings: GroupsConfig,
        row: pd.Series,
        layers: _Layers,
        groups: _Groups,
    ) -> None:
        self._asked: Asked = context.metric(row["metric"])
        self._sides = [(str(row[s]), int(row[f"layer_{s}"])) for s in ("x", "y")]
        self._settings, self._layers, self._groups = settings, layers, groups
        self._n = context.n
        self.decides = [
            *(context.aligned(label).key for label, _ in self._sides),
            *(layer for _, layer in self._sides),
            self._asked.label,
            self._asked.code or None,
            groups.decides,
        ]

    def made(self) -> dict[str, Any]:
        x, y = (self._layers.at(*side) for side in self._sides)
        metric = self._asked.metric
        one, other = metric.summarize(x), metric.summarize(y)
        scores = metric.by_row(one, other)
        tables: list[dict[Hashable, Any]] = []
        for by, grouping in self._divisions(x, y):
            table = self._agreed(scores, grouping)
            if metric.name == "mutual_knn":
                assert isinstance(one, NeighborLists)
                assert isinstance(other, NeighborLists)
                parts = [self._shared(one, other, grouping), self._alone(x, y, grouping)]
                table = pd.concat([table, *parts], axis=1)
            tables += table.assign(by=by).to_dict("records")
        return {"rows": scores.tolist(), "groups": tables}

    def _divisions(
        self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"]
    ) -> Iterator[tuple[str, Grouping]]:
        yield from self._groups.of_all_pairs.items()
        if self._settings.clusters:
            for name, side, layer in zip("xy", self._sides, (x, y), strict=True):
                yield f"clusters of {name}", self._groups.clusters(*side, layer)

    def _permutations(self, within: list[int] | None = None) -> Permutations:
        return Permutations(self._settings.permutations, self._settings.seed, within)

    def _agreed(self, scores: Float[np.ndarray, " n"], grouping: Grouping) -> pd.DataFrame:
        """The mean of the rows of each group, against that of as many rows at random."""
        p, null = membership_p(scores, grouping, self._permutations())
        low, high = np.quantile(null, [0.025, 0.975], axis=0)
        of_groups = [scores[member] for member in grouping.members.T]
        means = [float(np.nanmean(s)) if (~np.isnan(s)).any() else np.nan for s in of_groups]
        return pd.DataFrame(
            {
                "group": ["", *grouping.names],
                "num_rows": [self._n, *grouping.sizes],
                "score": [float(np.nanmean(scores)), *means],
                "chance": self._asked.metric.chance(self._n),
                "null_low": [np.nan, *low],
                "null_high": [np.nan, *high],
                "p": [np.nan, *p],
            }
        )

    def _shared(self, one: NeighborLists, other: NeighborLists, grouping: Grouping) -> pd.DataFrame:
        """What of the neighbors that are shared the groups alone would give."""
        x, y = _entries(one), _entries(other)
        found, coarse = shared_parts(x, y, grouping), expected_shared(x, y, grouping)
        null = shared_null(x, y, grouping, self._permutations(grouping.classes.tolist()))
        score, same = (np.array([getattr(part, of) for part in null]) for of in ("score", "same"))
        return pd.DataFrame(
            {
                "coarse": coarse.score,
                "p_fine": _p(found.score, score),
                "same": found.same,
                "coarse_same": coarse.same,
                "p_fine_same": _p(found.same, same),
                "p_fine_other": _p(found.score - found.same, score - same),
            }
        )

    def _alone(
        self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"], grouping: Grouping
    ) -> pd.DataFrame:
        """The score where neighbors are looked for among the rows of the group alone, beside that
        among as many rows at random; for all rows, the mean over those of the groups."""
        scores, chances, randoms, nulls = map(
            np.array,
            zip(*(self._within(x, y, np.flatnonzero(m)) for m in grouping.members.T), strict=True),
        )
        large = ~np.isnan(scores)
        weights = np.where(large, grouping.sizes, 0) / max(1, grouping.sizes[large].sum())

        def and_of_all(values: Float[np.ndarray, "g *K"]) -> Float[np.ndarray, "g_and_1 *K"]:
            mean = weights[large] @ values[large] if large.any() else np.nan * values[0]
            return np.concatenate([np.asarray(mean)[None], values])

        return pd.DataFrame(
            {
                "alone": and_of_all(scores),
                "alone_chance": and_of_all(chances),
                "p_alone": _p(and_of_all(scores), and_of_all(nulls).T),
                "alone_random": and_of_all(randoms),
            }
        )

    def _within(
        self, x: Float[Tensor, "n d_x"], y: Float[Tensor, "n d_y"], rows: Int64[np.ndarray, " m"]
    ) -> tuple[float, float, float, Float[np.ndarray, " K"]]:
        """Score among these rows alone, chance, the score among as many at random, and the null."""
        metric, settings, m = self._asked.metric, self._settings, len(rows)
        k = int(getattr(metric.parameters, "k", 0))
        if m < 4 or m - 1 < OTHERS * k:
            return np.nan, np.nan, np.nan, np.full(settings.permutations, np.nan)

        def summaries(some: Int64[np.ndarray, " m"]) -> list[Summary]:
            chosen = torch.from_numpy(some).to(x.device)
            return [metric.summarize(z[chosen]) for z in (x, y)]

        one, other = summaries(rows)
        assert isinstance(one, NeighborLists)
        assert isinstance(other, NeighborLists)
        lists, whole = (_entries(one), _entries(other)), Grouping((), np.zeros((m, 0), dtype=bool))
        null = shared_null(*lists, whole, self._permutations())
        random = [
            metric.by_row(*summaries(some)).mean()
            for some in subsamples(self._n, m, settings.subsets, settings.seed)
        ]
        return (
            float(metric.by_row(one, other).mean()),
            k / (m - 1),
            float(np.mean(random)),
            np.array([part.score[0] for part in null]),
        )


def _entries(summary: NeighborLists) -> Entries:
    lists = stack([summary])
    weights = np.ones(len(lists.rows)) if lists.weights is None else lists.weights
    return Entries(summary.n, summary.k, lists.rows, lists.columns, weights)


def _p(observed: Float[np.ndarray, " g"], null: Float[np.ndarray, "K g"]) -> list[float]:
    return [calibrate(float(s), of).p for s, of in zip(observed, null.T, strict=True)]
