"""The chosen layers in galleries of growing size (arXiv:2604.18572).

The search of one layer, for all galleries at once, is one finished piece on disk (`parts/`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Int64

from platorep.align.groups import groups_of_rows
from platorep.align.lists import lists_stand, read_lists
from platorep.align.models import Aligned
from platorep.align.prepared import ModelLayers
from platorep.align.scoring import SHUFFLED
from platorep.align.searching import LayerSearch, Searching, SearchSettings
from platorep.config import AlignConfig, GalleryConfig
from platorep.errors import ConfigError
from platorep.failures import Failures
from platorep.files import digest, sha256
from platorep.metrics.gallery import Galleries
from platorep.metrics.overlap import chance_with_sources, common_neighbors, in_order
from platorep.run import Run
from platorep.statistics import shuffled_order
from platorep.workplace import home_of

T = TypeVar("T")
SEARCH_VERSION = 2  # raise when the meaning of a neighbor list changes
ROWS_TOGETHER = 8192  # read before they are searched; no influence on the result
COLUMNS = (
    *("dataset", "x", "y", "x_family", "y_family", "x_modality", "y_modality"),
    *("x_random", "y_random", "control", "metric", "layer_x", "layer_y"),
    *("queries", "n", "k_rule", "k", "score", "se", "chance", "num_sources", "tied"),
)


def open_galleries(run: Run, num_rows: int) -> "GalleryScoring | None":
    """The galleries that an experiment asks for, if it does, ready to be scored in.

    Raises:
        ConfigError: a gallery has too few rows, or too few sources.
        AbsentError, DataError: the file of groups is not there, or lacks a row.
    """
    gallery = run.config.align.gallery
    if gallery is None:
        return None
    refuse_too_few_rows(run.config.align, num_rows)
    sizes = sorted({num_rows if size == "all" else int(size) for size in gallery.sizes})
    sources = None
    if gallery.groups is not None:
        groups = groups_of_rows(gallery.groups, "align.gallery.groups", run.results)
        sources = pd.factorize(np.array(groups, dtype=object))[0].astype(np.int64)
    level = levels(num_rows, gallery.queries, sizes, gallery.seed)
    galleries = Galleries(gallery.queries, tuple(sizes), level, sources)
    scoring = GalleryScoring(run, gallery, galleries)
    if sources is None:
        return scoring
    for n, k, rule in scoring.wanted:
        num_sources = len(np.unique(sources[level <= sizes.index(n)]))
        if k >= num_sources:
            raise ConfigError(
                f"align.gallery: k: {rule} means {k} sources in the gallery of {n} rows, which has "
                f"{num_sources}, the query's own among them. Ask for fewer, or larger galleries."
            )
    return scoring


def refuse_too_few_rows(align: AlignConfig, num_rows: int | None) -> None:
    """Refuse galleries that are larger than so many rows; None: it is not known how many.

    Raises:
        ConfigError: a gallery is.
    """
    gallery = align.gallery
    if gallery is None or num_rows is None:
        return
    largest = max([gallery.queries, *(size for size in gallery.sizes if size != "all")])
    if largest > num_rows:
        raise ConfigError(
            f"align.gallery: asks for {largest} rows, and the dataset has {num_rows}. Ask for "
            "smaller galleries (`all` is the whole dataset), or raise dataset.limit."
        )


def levels(num_rows: int, num_queries: int, sizes: Sequence[int], seed: int) -> np.ndarray:
    """Of every row, the place in `sizes` of the smallest gallery that holds it.

    The queries are in all; the other rows join in a seeded order.
    """
    place = np.zeros(num_rows, dtype=np.int64)
    place[num_queries:] = num_queries + np.random.default_rng([seed, 0]).permutation(
        num_rows - num_queries
    )
    return np.searchsorted(np.asarray(sizes), place, side="right").astype(np.int8)


@dataclass(frozen=True)
class GalleryScoring:
    """The galleries, and how rows are compared in them."""

    run: Run
    gallery: GalleryConfig
    galleries: Galleries

    @property
    def align(self) -> AlignConfig:
        return self.run.config.align

    @cached_property
    def wanted(self) -> list[tuple[int, int, int | str]]:
        """n, k and the rule that k follows."""
        return [
            (n, self.gallery.neighbors(rule, n), rule)
            for n in self.galleries.sizes
            for rule in self.gallery.k
        ]

    def score(
        self, best: pd.DataFrame, models: Mapping[str, Aligned], failures: Failures
    ) -> pd.DataFrame:
        """One row per model pair, control, n and k.

        With shuffled pairs also a control, unless there are sources: y's rows in a random order, in
        which the queries and what each gallery adds stay among themselves, and the groups of
        `align.null.within` too.

        Args:
            best: The layers of every pair, under the gallery's metric.
        """
        metric = self.align.gallery_metric().label()
        pairs = best[(best["metric"] == metric) & (best["control"] == "")]
        layers = {(row[s], int(row[f"layer_{s}"])) for _, row in pairs.iterrows() for s in "xy"}
        searched = self._searched(sorted(one for one in layers if one[1] >= 0), models, failures)
        controls = self.run.config.controls
        shuffled = controls.shuffled_pairs and self.galleries.sources is None
        order = self._order(controls.seed) if shuffled else None
        rows: list[dict[str, Any]] = []
        for _, pair in pairs.iterrows():
            x, y = ((str(pair[s]), int(pair[f"layer_{s}"])) for s in "xy")
            with failures.catch(f"gallery {x[0]} x {y[0]}"):
                if min(x[1], y[1]) < 0:
                    self.run.report.warn(f"no gallery of {x[0]} x {y[0]}: {pair['reason']}")
                elif x in searched and y in searched:
                    rows += self._rows(pair, searched[x], searched[y], order)
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"num_sources": "Int64"})

    def _searched(
        self,
        layers: Sequence[tuple[str, int]],
        models: Mapping[str, Aligned],
        failures: Failures,
    ) -> dict[tuple[str, int], Path]:
        """The finished search of each layer, made where it is not there."""
        run, metric = self.run, self.align.gallery_metric()
        found: dict[tuple[str, int], Path] = {}
        todo: list[LayerSearch] = []
        for label, layer in layers:
            name = f"gallery {label}, layer {layer}"
            with failures.catch(name):
                found[label, layer] = path = self._path(models[label], layer)
                if run.anew or not lists_stand(path, run.report):
                    run.must_compute(name, path)
                    of_model = ModelLayers(label, models[label].cell, self.align)
                    todo.append(LayerSearch(name, of_model, layer, path))
        settings = SearchSettings(
            galleries=self.galleries,
            wanted=sorted({(n, k) for n, k, _ in self.wanted}),
            similarity=metric.similarity,
            center=metric.center,
        )
        with home_of(run) as home:
            Searching(run, home, settings, failures).search(todo)
        return {
            (label, layer): path
            for (label, layer), path in found.items()
            if f"gallery {label}, layer {layer}" not in failures.errors
        }

    def _path(self, model: Aligned, layer: int) -> Path:
        """Where the search of a layer lies; named by all that decides it."""
        metric, sources = self.align.gallery_metric(), self.galleries.sources
        decides = {
            "preprocess": self.align.preprocess.model_dump(mode="json"),
            "concatenated": self.align.concatenated,
            "similarity": [metric.similarity, metric.center],
            "queries": self.galleries.num_queries,
            "seed": self.gallery.seed,
            "wanted": sorted({(n, k) for n, k, _ in self.wanted}),
            "sources": None if sources is None else sha256(sources.tobytes()),
        }
        name = digest(["gallery", SEARCH_VERSION, model.key, layer, decides])
        return self.run.results.parts / f"{name}.safetensors"

    def _order(self, seed: int) -> Int64[np.ndarray, " rows"]:
        """Rows change places among the queries, among what a gallery adds, and in their group."""
        level, num_queries = self.galleries.level, self.galleries.num_queries
        joined = np.where(np.arange(len(level)) < num_queries, 0, 1 + level.astype(np.int64))
        file = self.align.null.within
        if file is not None:
            groups = groups_of_rows(file, "align.null.within", self.run.results)
            codes, names = pd.factorize(np.array(groups, dtype=object))
            joined = joined * len(names) + codes
        return shuffled_order(len(level), seed, joined)

    def _rows(
        self, pair: pd.Series, x: Path, y: Path, order: Int64[np.ndarray, " rows"] | None
    ) -> Iterator[dict[str, Any]]:
        q = self.galleries.num_queries
        for n, k, rule in self.wanted:
            of_x, of_y = read_lists(x, n, k), read_lists(y, n, k)
            chance, num_sources = self._chances[n, k]
            tied = max(0 if s.ties is None else s.ties.num_rows for s in (of_x, of_y))
            for control in ("", SHUFFLED) if order is not None else ("",):
                against = of_y if order is None or not control else in_order(of_y, order)
                common = common_neighbors(of_x, against, len(self.galleries.level))
                yield {name: pair[name] for name in COLUMNS if name in pair} | {
                    "control": control,
                    "queries": q,
                    "n": n,
                    "k_rule": str(rule),
                    "k": k,
                    "score": float(common.sum() / (q * k)),
                    "se": float(common.std(ddof=1) / k / q**0.5),
                    "chance": chance,
                    "num_sources": num_sources,
                    "tied": tied,
                }

    @cached_property
    def _chances(self) -> dict[tuple[int, int], tuple[float, int | None]]:
        """n, k -> the chance level and the number of sources."""
        sources = self.galleries.sources
        if sources is None:
            return {(n, k): (k / (n - 1), None) for n, k, _ in self.wanted}
        found: dict[tuple[int, int], tuple[float, int | None]] = {}
        for n, k, _ in self.wanted:
            inside = self.galleries.level <= self.galleries.sizes.index(n)
            sizes = np.bincount(sources[inside], minlength=int(sources.max()) + 1)
            own = sources[: self.galleries.num_queries]
            found[n, k] = chance_with_sources(sizes, own, k), int((sizes > 0).sum())
        return found
