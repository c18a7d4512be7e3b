"""What an experiment file may say, as a whole.

Relative paths in a file mean: relative to the file's own folder.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, model_validator

from platorep.config.align import AlignConfig
from platorep.config.bridges import BridgeConfig
from platorep.config.data import DatasetConfig
from platorep.config.figures import check_figures
from platorep.config.models import (
    KIND_OF,
    Backend,
    ExtractConfig,
    FamilyConfig,
    ModelConfig,
    ModelSpec,
)
from platorep.config.performance import PerformanceConfig, WordsConfig, check_tasks
from platorep.config.report import ReportConfig
from platorep.config.units import UnitsConfig
from platorep.errors import nearest
from platorep.parameters.baselines import BASELINE_MODALITY, BASELINES, BASELINES_FAMILY
from platorep.parameters.figures import AnyFigure
from platorep.parameters.section import Section
from platorep.parameters.toyworld import ToyTraining
from platorep.parameters.views import Modality


class ControlsConfig(Section):
    """What a score must be held against; each adds rows to the tables, none replaces any."""

    random_weights: bool = False
    """A random-weight copy of every model."""
    shuffled_pairs: bool = False
    """Every model pair once more with the rows of y in a seeded random order."""
    changed_views: bool = False
    """Every model once more on each changed view of what it reads."""
    baselines: bool = False
    """What needs no network, of each view that models read: a bag of words, a colour histogram, a
    grey thumbnail, a mean spectrum."""
    seed: NonNegativeInt = 0
    """Of the random weights and of the shuffle."""


class ExperimentConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """What the experiment is called: the folder of its results."""
    dataset: DatasetConfig
    """The rows that every model reads, each in its view."""
    families: tuple[FamilyConfig, ...]
    """The models, in groups that figures show as lines or panels."""
    extract: ExtractConfig = ExtractConfig()
    """How features are computed and stored."""
    performance: tuple[PerformanceConfig, ...] = ()
    """The numbers on the x axis, measured or read from tables."""
    align: AlignConfig = AlignConfig()
    """Which models are scored against each other, and how."""
    controls: ControlsConfig = ControlsConfig()
    """What a score must be held against."""
    figures: tuple[AnyFigure, ...] = ()
    """What `plot` draws, in this order."""
    report: ReportConfig = ReportConfig()
    """What the page shows that `run` ends with."""
    bridge: BridgeConfig = BridgeConfig()
    """Settings of `platorep bridge`."""
    units: UnitsConfig = UnitsConfig()
    """Settings of `platorep units`."""

    def models(self) -> tuple[ModelSpec, ...]:
        """Every model with its family's settings filled in, controls included, in file order."""
        specs = model_specs(self.families, self.dataset)
        copies: tuple[ModelSpec, ...] = ()
        if self.controls.random_weights:
            copies += random_copies(specs, self.controls.seed)
        if self.controls.baselines:
            copies += baselines(specs, self.dataset)
        copies += repeats(specs + copies, self.align.read_anew())
        if self.controls.changed_views:
            copies += changed_copies(specs, self.dataset)
        return specs + copies

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> "ExperimentConfig":
        if not self.families:
            raise ValueError("no models in families: list at least one")
        refuse_bad_families(self.families)
        refuse_repeats("measure", [measure.name for measure in self.performance])
        check_tasks(self.performance)
        specs = self.models()
        if self.controls.changed_views and not any(spec.changed_of for spec in specs):
            raise ValueError(
                "controls.changed_views has no effect: no view that a model reads is changed "
                "(dataset.views: {NAME: {of: ..., change: ...}})"
            )
        refuse_unknown_repeats(self.align.read_anew(), specs, self.dataset)
        for measure in self.performance:
            if isinstance(measure, WordsConfig):
                refuse_no_texts(f"performance {measure.name}: view", measure.view, self.dataset)
        if self.align.groups is not None and self.align.groups.words:
            refuse_no_texts("align.groups.view", self.align.groups.view, self.dataset)
        refuse_repeats("model label (set `label`)", [spec.label for spec in specs])
        known: dict[str, set[str]] = {
            "modality": {str(spec.modality) for spec in specs},
            "family": {spec.family for spec in specs},
            "model": {spec.label for spec in specs},
        }
        default = "" if "pairs" in self.align.model_fields_set else " (the default)"
        for pair in self.align.pairs:
            for selector in (pair.x, pair.y):
                for field, value in selector.model_dump(exclude_none=True).items():
                    if value not in known[field]:
                        raise ValueError(
                            f"align.pairs{default} names the {field} {value!r}, which no model has."
                            f"{nearest(value, known[field])} There are: "
                            f"{', '.join(sorted(known[field]))}."
                        )
        check_figures(
            self.figures,
            self.performance,
            self.align.metrics,
            known | {"view": {spec.view for spec in specs if spec.view}},
        )
        return self


def model_specs(families: Iterable[FamilyConfig], dataset: DatasetConfig) -> tuple[ModelSpec, ...]:
    """Every model with its family's settings filled in; toy networks live in `dataset`."""
    return tuple(
        spec
        for family in families
        for entry in family.models
        for spec in _by_view(_specs(family, entry, dataset), family.reads, dataset)
    )


def random_copies(specs: Iterable[ModelSpec], seed: int) -> tuple[ModelSpec, ...]:
    """A random-weight copy of every model of which one means anything.

    The first of each architecture has this seed, the next ones those that follow: two copies with
    one seed would be one and the same network.
    """
    copies: list[ModelSpec] = []
    taken: dict[tuple[str, ...], list[str]] = {}
    for spec in filter(_has_random_copy, specs):
        architecture = spec.name.partition(".")[0] if spec.backend == "timm" else spec.name
        before = taken.setdefault((spec.backend, architecture, spec.view), [])
        whole = spec.label.replace(f" ({spec.pool})", "", 1)  # several pools are of one network
        if whole not in before:
            before.append(whole)
        changes: dict[str, Any] = {"random_init": True, "seed": seed + before.index(whole)}
        changes |= {"random_of": spec.label, "adapter": None, "label": f"{spec.label} (random)"}
        copies.append(spec.model_copy(update=changes))
    return tuple(copies)


def changed_copies(specs: Iterable[ModelSpec], dataset: DatasetConfig) -> tuple[ModelSpec, ...]:
    """Every trained model on each change of what it reads, but where a family reads that itself."""
    there = {(spec.label, spec.view) for spec in specs}
    copies = [
        spec.model_copy(
            update={"view": view, "changed_of": spec.label, "label": f"{spec.label} ({view})"}
        )
        for spec in filter(_has_copies, specs)
        for view in dataset.changed
        if view != spec.view and _is_change_of(view, spec.view, dataset)
    ]
    return tuple(copy for copy in copies if (copy.label, copy.view) not in there)


def baselines(specs: Iterable[ModelSpec], dataset: DatasetConfig) -> tuple[ModelSpec, ...]:
    """Every baseline of each view that a model reads as it was observed."""
    read = dict.fromkeys(s.view for s in specs if s.view and s.view not in dataset.changed)
    families = [
        FamilyConfig(
            name=BASELINES_FAMILY,
            modality=BASELINE_MODALITY[kind],
            backend="baseline",
            reads=(view,),
            models=(ModelConfig(name=name),),
        )
        for view in read
        for name, kind in BASELINES.items()
        if kind == dataset.kinds[view]
    ]
    return model_specs(families, dataset)


def repeats(
    specs: Iterable[ModelSpec], views: Mapping[str, Sequence[str]]
) -> tuple[ModelSpec, ...]:
    """A copy of every model, random ones and baselines too, on each other observation of what it
    reads."""
    return tuple(
        spec.model_copy(
            update={"view": view, "repeat_of": spec.label, "label": f"{spec.label} ({view})"}
        )
        for spec in specs
        if spec.step is None or spec.step == spec.training.steps
        for view in views.get(spec.view, ())
    )


def refuse_unknown_repeats(
    views: Mapping[str, Sequence[str]], specs: Iterable[ModelSpec], dataset: DatasetConfig
) -> None:
    read = {spec.view for spec in specs if not spec.repeat_of}
    for view, others in views.items():
        if view not in read:
            raise ValueError(
                f"align.repeats: no model reads the view {view!r}.{nearest(view, read)} Those that "
                f"are read: {', '.join(sorted(filter(None, read)))}"
            )
        if not others or len({view, *others}) < 1 + len(others):
            raise ValueError(
                f"align.repeats.{view} (or observations.joined): must list views other than "
                f"{view!r}, at least one and none twice; found {list(others)}"
            )
        for other in others:
            if dataset.kinds.get(other) != dataset.kinds[view]:
                alike = [n for n, k in dataset.kinds.items() if k == dataset.kinds[view]]
                raise ValueError(
                    f"align.repeats.{view} (or observations.joined): {other!r} is no view of kind "
                    f"{dataset.kinds[view]}."
                    f"{nearest(other, alike)} There are: {', '.join(alike)}"
                )


def refuse_no_texts(key: str, view: str, dataset: DatasetConfig) -> None:
    """Refuse a view in which no words can be looked for."""
    texts = [name for name, kind in dataset.kinds.items() if kind == "text"]
    if view not in texts:
        raise ValueError(
            f"{key}: {view!r} is no view of texts.{nearest(view, texts)} There are: "
            f"{', '.join(texts) or 'none'}"
        )


def _is_change_of(view: str, other: str, dataset: DatasetConfig) -> bool:
    while view in dataset.changed:
        view = dataset.changed[view].of
        if view == other:
            return True
    return False


def refuse_bad_families(families: Iterable[FamilyConfig]) -> None:
    empty = [family.name for family in families if not family.models]
    if empty:
        raise ValueError(f"no models in {', '.join(empty)}: list at least one")
    names = [(family.name, view) for family in families for view in family.reads or ("",)]
    refuse_repeats("family name", [" reading ".join(filter(None, name)) for name in names])


_BACKENDS: Mapping[Modality, Backend] = {
    "language": "transformers",
    "vision": "timm",
    "audio": "transformers",
    "video": "transformers",
    "truth": "features",
    "other": "features",
}


def _has_copies(spec: ModelSpec) -> bool:
    """Whether a control copy means anything: once per toy network, at its last step."""
    if (
        spec.is_baseline
        or spec.backend in ("features", "bundle")
        or spec.modality == "truth"
        or spec.random_init
    ):
        return False
    return spec.step is None or spec.step == spec.training.steps


def _has_random_copy(spec: ModelSpec) -> bool:
    """A function of one's own may decide weights itself: what comes from a checkpoint is drawn."""
    from_checkpoint = spec.backend == "module" and spec.checkpoint is not None
    return _has_copies(spec) and (not spec.is_own_code or from_checkpoint)


def _specs(family: FamilyConfig, entry: ModelConfig, dataset: DatasetConfig) -> Iterator[ModelSpec]:
    settings = {k: v for k, v in _said(family).items() if k not in ("models", "reads")} | _said(
        entry
    )
    settings["training"] = ToyTraining.model_validate(
        _said(family.training) | _said(entry.training)
    )
    backend = settings.get("backend") or _BACKENDS[family.modality]
    label = str(settings.get("label") or settings["name"].rstrip("/").rsplit("/", 1)[-1])
    if "label" not in settings:
        label += f"@{settings['revision']}" if settings.get("revision") else ""
        seed = settings["training"].seed
        label += f"-seed{seed}" if seed and backend == "toyworld" else ""
        label += " (random)" if settings.get("random_init") else ""
    settings |= {"label": label, "family": family.name, "backend": backend}
    for spec in _by_pool(settings):
        yield from _toy_steps(spec, dataset) if backend == "toyworld" else (spec,)


def _by_pool(settings: Mapping[str, Any]) -> Iterator[ModelSpec]:
    """A model, or one for each of several pools, whose name stands in brackets behind its label."""
    pools = settings.get("pool")
    if not isinstance(pools, tuple):
        yield ModelSpec.model_validate(settings)
        return
    if not pools or len(set(pools)) < len(pools):
        raise ValueError(f"{settings['label']}: `pool` must list at least one, and none twice")
    for pool in pools:
        label = f"{settings['label']} ({pool})"
        yield ModelSpec.model_validate(dict(settings) | {"pool": pool, "label": label})


def _toy_steps(spec: ModelSpec, dataset: DatasetConfig) -> Iterator[ModelSpec]:
    """The checkpoints of a toy network, or the truth of its world."""
    label = spec.label
    if dataset.source != "toyworld":
        raise ValueError(f"{label}: `backend: toyworld` needs `dataset: {{source: toyworld}}`")
    if spec.modality == "truth":
        yield spec.model_copy(update={"world": dataset.world})
        return
    steps = sorted({*spec.training.checkpoints, spec.training.steps})
    for step in steps:
        own = f"{label}@{step}" if len(steps) > 1 else label
        yield spec.model_copy(update={"world": dataset.world, "step": step, "label": own})


def _by_view(
    specs: Iterable[ModelSpec], reads: Sequence[str], dataset: DatasetConfig
) -> Iterator[ModelSpec]:
    """Each model once per view that it reads."""
    for spec in specs:
        if spec.backend == "features" or (spec.backend == "bundle" and spec.kind is None):
            if reads:
                raise ValueError(
                    f"{spec.label}: `reads` means nothing to a user's own arrays (`backend: "
                    "features`, as modalities `other` and `truth` have it unless told otherwise), "
                    "which are known by the ids of their rows; leave it out"
                )
            yield spec
            continue
        usual = _usual_view(spec, dataset)
        for view in reads or (usual or _no_usual_view(spec, dataset),):
            if view not in dataset.kinds:
                raise ValueError(
                    f"{spec.label} reads {view!r}, which is no view.{nearest(view, dataset.kinds)} "
                    f"There are: {', '.join(dataset.kinds)}"
                )
            origin = dataset.observed[dataset.observed_of(view)]
            world = spec.world
            if origin.level is not None:
                world = world.model_copy(update={"caption_level": origin.level})
            # Round brackets: in `--models`, square ones are a set of characters.
            label = spec.label if view == usual else f"{spec.label} ({view})"
            changes = {"view": view, "kind": dataset.kinds[view], "world": world, "label": label}
            yield spec.model_copy(update=changes)


def _usual_view(spec: ModelSpec, dataset: DatasetConfig) -> str | None:
    """What a model of this modality reads where its family says nothing."""
    kind = KIND_OF.get(spec.modality)
    if kind is not None and dataset.kinds.get(kind) == kind:
        return kind
    of_that_kind = [n for n, view in dataset.observed.items() if kind in (view.kind, None)]
    return of_that_kind[0] if len(of_that_kind) == 1 else None


def _no_usual_view(spec: ModelSpec, dataset: DatasetConfig) -> str:
    kind = KIND_OF.get(spec.modality)
    views = [name for name, own in dataset.kinds.items() if kind in (own, None)]
    raise ValueError(
        f"{spec.label}: its family ({spec.family}, modality {spec.modality}) must say what it "
        f"`reads`: "
        + (f"one or several of {', '.join(views)}" if views else f"there is no view of {kind}")
    )


def _said(section: Section) -> dict[str, Any]:
    """The fields that the file sets, not those left at their defaults."""
    return {name: getattr(section, name) for name in section.model_fields_set}


def refuse_repeats(kind: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"repeated {kind}: {', '.join(repeated)}")
