"""The numbers on the x axis: what is measured, and where numbers of others are read.

The kinds have one key each that no other has: `source` (bits per byte), `table`, `harness`,
`probe`, `tasks`, `words`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from platorep.config.data import DatasetConfig, DatasetFormat
from platorep.config.paths import LocalPath, NameOrPath
from platorep.config.words import Words
from platorep.errors import nearest
from platorep.parameters.section import Section

Better = Literal["higher", "lower"]
"""Which of two values of a measure is the better one."""
BITS_PER_BYTE = "bits_per_byte"
Share = Annotated[float, Field(gt=0, lt=1)]


class BitsPerByteConfig(Section):
    """Bits per UTF-8 byte of causal language models; docs/performance.md has the definition."""

    name: str = BITS_PER_BYTE
    """What tables and figures call the measure."""
    source: NameOrPath
    """`captions` (of the experiment: the texts of the view that the model itself
    reads), a text file, or a hub dataset."""
    documents: Literal["lines", "file"] = "lines"
    """What is one document of a text file; blank lines are none."""
    subset: str | None = None
    """Configuration name of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    split: str = "train"
    """Split of a hub dataset."""
    text: str = "text"
    """Column of a hub dataset."""
    limit_documents: PositiveInt | None = None
    """At most so many documents."""
    limit_bytes: PositiveInt | None = None
    """Stop after the document in which this many bytes are reached, cut at a character."""
    context: PositiveInt | None = None
    """Window in tokens; absent: the model's own context."""
    score_end: bool = False
    """Also score a closing end-of-text token after each document."""


class TableConfig(Section):
    """Numbers of others: a CSV file with the columns `model`, `value` and, if known, `source`."""

    name: str
    """What tables and figures call the measure."""
    table: NameOrPath
    """The CSV file."""
    value: str = "value"
    """Column of the numbers; ISO dates (2023-02-27) become years with a fraction."""
    better: Better | None = None
    """`lower` for errors, losses, perplexities: figures draw 1 - value. Absent: `higher`, but for a
    measure called bits_per_byte."""


class HarnessConfig(Section):
    """Accuracies from result files of EleutherAI's lm-evaluation-harness."""

    name: str
    """What tables and figures call the measure."""
    harness: LocalPath
    """A file, a folder (its `results*.json`, at any depth), or a pattern such as
    `results/**/results_*.json`."""
    task: str
    """A task or group of tasks, as the harness calls it."""
    metric: str
    """Such as `acc_norm`."""
    filter: str = "none"
    """What picked the answer out of the generated text, such as `strict-match`."""
    better: Better | None = None
    """Absent: what the result files say of the metric (`higher_is_better`)."""
    regardless_of: tuple[str, ...] = ()
    """Arguments of the evaluated model (`model_args`) that leave it what it is. Those of the
    harness, vLLM and SGLang are known; any other makes the file another model's."""


class LabelledConfig(Section):
    """Labelled images, in three splits: to train on, to choose on, to report."""

    source: NameOrPath
    """As `dataset.source`, or a folder with one subfolder of images per class."""
    format: DatasetFormat | None = None
    """As `dataset.format`."""
    subset: str | None = None
    """Configuration name of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    image: str = "image"
    """Column of the images."""
    label: str = "label"
    """Column of the classes: names or numbers."""
    id: str | None = None
    """Column of the row ids."""
    split: str = "train"
    """What probes are trained on."""
    validation_split: str | None = None
    """Absent: `validation_share` of the rows of `split`."""
    test_split: str | None = None
    """Absent: `test_share` of the rows of `split`."""
    validation_share: Share = 0.2
    """Share of `split` that settings are chosen on."""
    test_share: Share = 0.2
    """Share of `split` that the accuracy is of."""
    limit: PositiveInt | None = 10_000
    """Most rows of each split that is read, after the shuffle."""
    seed: NonNegativeInt = 0
    """Of the shuffle, by which rows are limited and divided."""
    on_bad_row: Literal["error", "drop"] = "error"
    """End with an error, or leave the row out."""

    def dataset(self, split: str) -> DatasetConfig:
        """One split as pairs of an image and the name of its class."""
        shared = ("source", "format", "subset", "revision", "image", "id", "limit", "on_bad_row")
        return DatasetConfig(
            **{name: getattr(self, name) for name in shared},
            split=split,
            text=self.label,
            shuffle=self.seed,
        )

    @model_validator(mode="after")
    def _splits_and_shares_agree(self) -> "LabelledConfig":
        own = [self.split, self.validation_split, self.test_split]
        named = [split for split in own if split is not None]
        if len(set(named)) < len(named):
            raise ValueError("the splits must be three different ones; leave out what is not there")
        for name in ("validation", "test"):
            if f"{name}_share" in self.model_fields_set and getattr(self, f"{name}_split"):
                raise ValueError(f"`{name}_share` has no effect with `{name}_split`; delete it")
        shares = 0.0 if self.validation_split else self.validation_share
        shares += 0.0 if self.test_split else self.test_share
        if shares >= 1:
            raise ValueError(f"validation and test take {shares:g} of the rows: none to train on")
        return self


class ProbeConfig(Section):
    """Accuracy of a linear or k-nearest-neighbors classifier on frozen features of images."""

    name: str
    """What tables and figures call the measure."""
    probe: Literal["linear", "knn"]
    """The classifier."""
    dataset: LabelledConfig
    """The labelled images."""
    layers: Literal["last", "all"] | Annotated[tuple[int, ...], Field(min_length=1)] = "last"
    """Of the layers that the model keeps (negative: from the end); of several, the one that is
    best on the validation split."""
    c: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.001, 0.01, 0.1, 1, 10, 100)
    """Inverse strengths of the l2 penalty to choose from (scikit-learn's C; linear only)."""
    max_iterations: PositiveInt = 1000
    """Of the solver, L-BFGS (linear only)."""
    k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 20, 50)
    """Numbers of neighbors to choose from, by cosine similarity (knn only)."""

    @model_validator(mode="after")
    def _has_only_its_own_keys(self) -> "ProbeConfig":
        others = {"linear": {"k"}, "knn": {"c", "max_iterations"}}[self.probe]
        if idle := sorted(self.model_fields_set & others):
            raise ValueError(f"`{idle[0]}` has no effect with `probe: {self.probe}`; delete it")
        return self


class WordsConfig(Section):
    """How well features tell which words the captions of the experiment have: a linear probe of
    each word, of all models at one width."""

    name: str
    """What tables and figures call the measure."""
    words: Annotated[Words, Field(min_length=1)]
    """Labels: whether the text of a row has the word. `dog/dogs` is either of the two."""
    view: str = "text"
    """The view of texts that has the words; best one that no model reads."""
    width: PositiveInt | None = None
    """Dimensions that every layer is brought to, by principal components; a model without a layer
    as wide has no number. Absent: the width of the narrowest model, by its widest layer."""
    layers: Literal["last", "all"] | Annotated[tuple[int, ...], Field(min_length=1)] = "all"
    """Of the layers that the model keeps (negative: from the end); of several, the one that is
    best on the validation rows."""
    c: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.001, 0.01, 0.1, 1)
    """Inverse strengths of the l2 penalty to choose from (scikit-learn's C)."""
    max_iterations: PositiveInt = 1000
    """Of the solver, L-BFGS."""
    validation_share: Share = 0.2
    """Share of the rows that settings are chosen on."""
    test_share: Share = 0.3
    """Share of the rows that the number is of."""
    seed: NonNegativeInt = 0
    """By which rows are divided."""

    @model_validator(mode="after")
    def _rows_are_left(self) -> "WordsConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave no rows to train on")
        return self


class TaskTableConfig(Section):
    """Accuracies on several tasks that others measured: a CSV file, a column for each task."""

    table: LocalPath
    """A CSV file with the column `model` and one for each task."""
    columns: tuple[str, ...] | None = None
    """Absent: every column but `model` and `source`."""


class TasksSolvedConfig(Section):
    """Share of tasks solved, as on the x axis of figure 2 of arXiv:2405.07987."""

    name: str
    """What tables and figures call the measure."""
    tasks: Annotated[tuple[str | TaskTableConfig, ...], Field(min_length=1)]
    """Names of probes, harness results and tables of this experiment, or whole tables."""
    solved_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Of the accuracy of the best trained model of the experiment."""


_KINDS = {  # by the key that only it has; names of no key of theirs
    "source": "bits per byte",
    "table": "a table",
    "harness": "harness results",
    "probe": "a probe",
    "tasks": "tasks solved",
    "words": "words of captions",
}


def _performance_kind(value: object) -> str:
    keys = value.keys() if isinstance(value, Mapping) else vars(value).keys()
    return next((kind for key, kind in reversed(_KINDS.items()) if key in keys), "bits per byte")


PerformanceConfig = Annotated[
    Annotated[BitsPerByteConfig, Tag("bits per byte")]
    | Annotated[TableConfig, Tag("a table")]
    | Annotated[HarnessConfig, Tag("harness results")]
    | Annotated[ProbeConfig, Tag("a probe")]
    | Annotated[TasksSolvedConfig, Tag("tasks solved")]
    | Annotated[WordsConfig, Tag("words of captions")],
    Discriminator(_performance_kind),
]


def usually_better(measure: str) -> Better:
    """Which values are better where nobody says so: tables, and results from before 0.2.0."""
    return "lower" if measure == BITS_PER_BYTE else "higher"


def check_tasks(measures: Sequence[PerformanceConfig]) -> None:
    """Refuse tasks that are no measure of the experiment with an accuracy.

    Raises:
        ValueError: one is not; lists those that are.
    """
    accuracies = {
        measure.name
        for measure in measures
        if isinstance(measure, ProbeConfig | HarnessConfig | TableConfig)
    }
    for measure in measures:
        for task in _named_tasks(measure):
            if task not in accuracies:
                raise ValueError(
                    f"performance {measure.name} names the task {task!r}, which is no probe, "
                    f"harness result or table of this experiment.{nearest(task, accuracies)} "
                    f"There are: {', '.join(sorted(accuracies)) or 'none'}."
                )


def _named_tasks(measure: PerformanceConfig) -> Iterator[str]:
    if isinstance(measure, TasksSolvedConfig):
        yield from (task for task in measure.tasks if isinstance(task, str))
