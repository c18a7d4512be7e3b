"""Do features tell which words the captions have? Probes of all models at one width.

Axes: n rows, d features, w words.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64

from platorep.config import WordsConfig
from platorep.data import EventDataset, load_dataset
from platorep.data.words import texts_with_words
from platorep.engines import Needs, Talk, Unit
from platorep.engines import Work as Doing
from platorep.errors import ConfigError, DataError
from platorep.extraction import Work, open_work
from platorep.features import Cell
from platorep.files import digest
from platorep.models import environment, open_remembered
from platorep.performance.job import Job, Planned, Row
from platorep.performance.kept import Measured, Wanted
from platorep.run import Run
from platorep.workplace import memory_for

RULE_VERSION = 1  # raise when the meaning of a measurement changes
Part = Int64[np.ndarray, " _"]


@dataclass(frozen=True)
class Labels:
    """Which row has which word, and the rows to train, choose and report on."""

    words: tuple[str, ...]
    having: Bool[np.ndarray, "n w"]
    train: Part
    validation: Part
    test: Part

    @property
    def known(self) -> Part:
        """Of the classifier that is reported."""
        return np.concatenate([self.train, self.validation])


@dataclass(frozen=True, kw_only=True)
class WordsResult:
    """Areas under the ROC curve (chance .5, perfect 1) on the test rows: means over words."""

    value: float
    stderr: float
    """Over test rows, which all words share (DeLong et al. 1988, Biometrics 44)."""
    of_words: Mapping[str, float]
    layer: str
    c: float
    validation: float
    shuffled: float
    """The same with the labels of other rows."""
    converged: bool


def words_rows(job: Job, config: WordsConfig) -> Iterator[Row]:
    """A row for each model with a layer of the width that all are brought to."""
    run = job.run
    dataset = load_dataset(run.config.dataset, offline=job.offline)
    labels = labels_of(config, dataset.views[config.view].texts or ())
    works = _works(job, config, dataset)
    widths = {label: max(_widths(config, work.cell)) for label, work in works.items()}
    width = config.width or min(widths.values(), default=1)
    if config.width is None and len(run.specs) < len(run.config.models()):
        job.report.warn(
            f"{config.name}: the width is the smallest of the models asked for; say `width`"
        )
    if width >= len(labels.train):
        raise ConfigError(
            f"{config.name}: {width} dimensions cannot be fitted to {len(labels.train)} rows to "
            "train on. Set a smaller `width`."
        )
    asked: dict[str, Wanted] = {}
    for label, work in works.items():
        if widths[label] < width:
            job.report.say(f"{label} has no {config.name}: {widths[label]} < {width} dimensions")
            continue
        unit = partial(_unit, run, config, labels, work, width)
        key = words_key(config, labels, work.cell, width)
        asked[label] = Wanted(name=f"{config.name} of {label}", key=key, unit=unit)
    found = job.measurements(list(asked.values()))
    for label, wanted in asked.items():
        if wanted.name in found:
            dtype = works[label].target.key.compute_dtype
            yield _row(config, labels, found[wanted.name], width) | {"model": label, "dtype": dtype}


def plan_words(config: WordsConfig, planned: Planned) -> dict[str, Any]:
    return {"note": f"{len(planned.specs)} models, {len(config.words)} words of {config.view}"}


def labels_of(config: WordsConfig, texts: Sequence[str]) -> Labels:
    """The labels, and the rows divided at random.

    Raises:
        DataError: a part has fewer than 2 rows with a word, or without it.
    """
    having = texts_with_words(texts, config.words, f"{config.name}.words")
    shares = (config.test_share, config.validation_share)
    return divided(having, config.words, config.name, config.seed, shares)


def divided(
    having: Bool[np.ndarray, "n w"],
    words: Sequence[str],
    key: str,
    seed: int,
    shares: tuple[float, float],
) -> Labels:
    """Rows divided at random.

    Args:
        key: What asks for it, for messages.
        shares: Of the rows to test on, and of those to choose by.

    Raises:
        DataError: a part has fewer than 2 rows with a word, or without it.
    """
    n = len(having)
    order = np.random.default_rng([seed, n]).permutation(n)
    bounds = np.round(np.cumsum(shares) * n).astype(int)
    test, validation, train = np.split(order, bounds)
    for name, rows in {"train": train, "validation": validation, "test": test}.items():
        counts = having[rows].sum(axis=0)
        rare = np.flatnonzero(np.minimum(counts, len(rows) - counts) < 2)
        if len(rare):
            raise DataError(
                f"{key}: {counts[rare[0]]} of {len(rows)} {name} rows have the word "
                f"{words[rare[0]]!r}: too few, or too many, to learn or to tell. Leave it "
                "out or use more rows."
            )
    return Labels(tuple(words), having, train, validation, test)


def probe_words(
    config: WordsConfig,
    names: Sequence[str],
    layers: Sequence[Float[np.ndarray, "n _"]],
    labels: Labels,
    width: int,
) -> WordsResult:
    """Choose layer and strength on the validation rows, train on all others, report on the test.

    Features are standardised, brought to `width` by their principal components and scaled to unit
    variance on the whole, all by the rows that are trained on. The classifier is an l2-penalised
    logistic regression for each word.

    Raises:
        DataError: a feature is not finite.
    """
    best = (-math.inf, 0, 0.0)
    for index, layer in enumerate(layers):
        if not np.isfinite(layer).all():
            raise DataError(f"layer {names[index]} has features that are not finite.")
        if layer.shape[1] < width:
            continue
        reduced = reduce(layer, labels.train, width)
        for c in sorted(map(float, config.c)):
            told, _ = _told(config, c, reduced, labels.having, labels.train, labels.validation)
            found = areas(told, labels.having[labels.validation])[0].mean()
            if found > best[0] + 1e-12:
                best = (float(found), index, c)
    validation, index, c = best
    reduced = reduce(layers[index], labels.known, width)
    told, converged = _told(config, c, reduced, labels.having, labels.known, labels.test)
    of_words, stderr = areas(told, labels.having[labels.test])
    n = len(labels.having)
    others = labels.having[np.random.default_rng([config.seed, n, 1]).permutation(n)]
    of_others, _ = _told(config, c, reduced, others, labels.known, labels.test)
    return WordsResult(
        value=float(of_words.mean()),
        stderr=stderr,
        of_words=dict(zip(labels.words, of_words.tolist(), strict=True)),
        layer=names[index],
        c=c,
        validation=validation,
        shuffled=float(areas(of_others, others[labels.test])[0].mean()),
        converged=converged,
    )


def reduce(
    features: Float[np.ndarray, "n d"], known: Part, width: int
) -> Float64[np.ndarray, "n w"]:
    """The principal components of the standardised features, fitted to the rows `known`."""
    z = np.asarray(features, dtype=np.float64)
    spread = z[known].std(axis=0)
    z = (z - z[known].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    few = len(known) < z.shape[1]
    gram = z[known] @ z[known].T if few else z[known].T @ z[known]
    axes = np.linalg.eigh(gram)[1][:, ::-1][:, :width]
    if few:
        axes = z[known].T @ axes
        lengths = np.linalg.norm(axes, axis=0)
        axes = axes / np.where(lengths > 1e-9 * lengths.max(), lengths, np.inf)
    components = z @ axes
    scale = math.sqrt(float(components[known].var(axis=0).mean()))
    found: np.ndarray = components / (scale or 1.0)
    return found


def areas(
    told: Float[np.ndarray, "n w"], having: Bool[np.ndarray, "n w"]
) -> tuple[Float64[np.ndarray, " w"], float]:
    """The area under the ROC curve of each word, and the standard error of their mean."""
    found, parts = area_parts(told, having)
    return found, float(np.linalg.norm(parts)) / len(found)


def area_parts(
    told: Float[np.ndarray, "n w"], having: Bool[np.ndarray, "n w"]
) -> tuple[Float64[np.ndarray, " w"], Float64[np.ndarray, " n"]]:
    """The area of each word, and what each row moves their sum by: the length of that is its
    standard error, and of a difference of two that of the difference.

    A row's part in an area is the share of the rows of the other kind that it is rightly ordered
    with; a tie counts half. (DeLong et al. 1988, Biometrics 44.)
    """
    from scipy.stats import rankdata  # takes long to import

    found, parts = [], np.zeros(len(told))
    for scores, has in zip(told.T, having.T, strict=True):
        ranks, right = rankdata(scores), np.empty(len(scores))
        num, others = int(has.sum()), int((~has).sum())
        right[has] = (ranks[has] - rankdata(scores[has])) / others
        right[~has] = 1 - (ranks[~has] - rankdata(scores[~has])) / num
        area = float(right[has].mean())
        found.append(area)
        parts += np.where(has, (right - area) / num, (right - area) / others)
    return np.array(found), parts


def _told(
    config: WordsConfig,
    c: float,
    features: Float64[np.ndarray, "n d"],
    having: Bool[np.ndarray, "n w"],
    known: Part,
    new: Part,
) -> tuple[Float64[np.ndarray, "m w"], bool]:
    """What a classifier of each word says of the new rows, and whether all came to rest."""
    from sklearn.exceptions import ConvergenceWarning  # takes long to import
    from sklearn.linear_model import LogisticRegression

    told, converged = [], True
    for has in having.T:
        solver = LogisticRegression(C=c, max_iter=config.max_iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says so
            solver.fit(features[known], has[known])
        told.append(solver.decision_function(features[new]))
        converged &= int(max(solver.n_iter_)) < config.max_iterations
    return np.stack(told, axis=1), converged


def _works(job: Job, config: WordsConfig, dataset: EventDataset) -> dict[str, Work]:
    """By label, the features of the experiment's own rows; what is missing is extracted."""
    run, works = job.run, dict[str, Work]()
    for spec in run.measured:
        with job.failures.catch(f"{config.name} of {spec.label}"):
            model = open_remembered(spec, run.root, offline=job.offline)
            run.prepare(model)
            work = open_work(run, model, dataset)
            if not work.cell.is_complete():
                run.must_compute(f"the features of {spec.label}")
            works[spec.label] = work
    job.complete(config.name, list(works.values()), dataset)
    return {label: work for label, work in works.items() if not work.missing()}


def _places(config: WordsConfig, cell: Cell) -> list[int]:
    """The layers that are asked for."""
    number = len(cell.layers)
    if config.layers == "all":
        return list(range(number))
    wanted = (-1,) if config.layers == "last" else config.layers
    if outside := [i for i in wanted if not -number <= i < number]:
        raise ConfigError(f"{config.name}: layers {outside} of a model that has {number}.")
    return [i % number for i in wanted]


def _widths(config: WordsConfig, cell: Cell) -> list[int]:
    return [int(cell.meta["layers"][i]["width"]) for i in _places(config, cell)]


def _unit(run: Run, config: WordsConfig, labels: Labels, work: Work, width: int) -> Unit:
    """What comes back is kept: a `WordsResult` as JSON."""
    cell, places = work.cell, _places(config, work.cell)
    features = cell.read()
    layers = {cell.layers[i]: features[i].numpy() for i in places}
    device = "cpu" if run.works_elsewhere else str(run.device)
    size = sum(layer.nbytes for layer in layers.values())
    return Unit(
        name=f"{config.name} of {work.label}",
        opens=opens_words,
        given=(config, run.engine.put(layers), labels, width, device),
        needs=Needs(memory_bytes=memory_for(4 * size)),
    )


@contextmanager
def opens_words(
    talk: Talk,
    config: WordsConfig,
    layers: Mapping[str, Float[np.ndarray, "n _"]],
    labels: Labels,
    width: int,
    device: str,
) -> Iterator[Doing]:
    """The unit of work; its only part is the measurement."""

    def work(part: None) -> Measured:
        found = probe_words(config, list(layers), list(layers.values()), labels, width)
        used = environment(torch.device(device)) | {"scikit-learn": version("scikit-learn")}
        return asdict(found) | {"environment": used}

    yield work


def words_key(config: WordsConfig, labels: Labels, cell: Cell, width: int) -> str:
    """Names a measurement by all that is meant to move it."""
    settings = config.model_dump(mode="json", exclude={"name", "view", "words", "width"})
    content = [labels.having.astype(int).tolist(), list(labels.words)]
    return digest(["words", RULE_VERSION, cell.folder.name, settings, width, content])


def _row(config: WordsConfig, labels: Labels, found: Mapping[str, Any], width: int) -> Row:
    some = ", ".join(f"{word.split('/')[0]} {area:.2f}" for word, area in found["of_words"].items())
    return {
        "measure": config.name,
        "better": "higher",
        "value": found["value"],
        "stderr": found["stderr"],
        "source": f"area under the ROC curve, mean of {len(labels.words)} words of {config.view} "
        f"({some}), {width} dimensions of {found['layer']} (c {found['c']:g}), "
        f"{len(labels.known)} rows to train on, {len(labels.test)} to test; with the labels of "
        f"other rows {found['shuffled']:.3f}" + ("" if found["converged"] else "; not converged"),
    }
