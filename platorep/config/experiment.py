"""What an experiment file may say, as a whole.

Relative paths in a file mean: relative to the file's own folder.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, model_validator

from platorep.config.align import AlignConfig
from platorep.config.data import DatasetConfig
from platorep.config.figures import check_figures
from platorep.config.models import (
    Backend,
    ExtractConfig,
    FamilyConfig,
    Modality,
    ModelConfig,
    ModelSpec,
)
from platorep.config.performance import PerformanceConfig, check_tasks
from platorep.errors import nearest
from platorep.parameters.figures import FigureConfig
from platorep.parameters.section import Section
from platorep.parameters.toyworld import ToyTraining


class ControlsConfig(Section):
    """What a score must be held against; each adds rows to the tables, none replaces any."""

    random_weights: bool = False
    """A random-weight copy of every model."""
    shuffled_pairs: bool = False
    """Every model pair once more with the rows of y in a seeded random order."""
    seed: NonNegativeInt = 0


class ExperimentConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: DatasetConfig
    families: tuple[FamilyConfig, ...]
    extract: ExtractConfig = ExtractConfig()
    performance: tuple[PerformanceConfig, ...] = ()
    align: AlignConfig = AlignConfig()
    controls: ControlsConfig = ControlsConfig()
    figures: tuple[FigureConfig, ...] = ()

    def models(self) -> tuple[ModelSpec, ...]:
        """Every model with its family's settings filled in, controls included, in file order."""
        specs = model_specs(self.families, self.dataset)
        copies = self.controls.random_weights
        return specs + (random_copies(specs, self.controls.seed) if copies else ())

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> "ExperimentConfig":
        if not self.families:
            raise ValueError("no models in families: list at least one")
        refuse_bad_families(self.families)
        refuse_repeats("measure", [measure.name for measure in self.performance])
        check_tasks(self.performance)
        specs = self.models()
        if self.dataset.variants and not any(spec.variant for spec in specs):
            raise ValueError("dataset.variants has no effect: no language model reads captions")
        refuse_repeats("model label (set `label`)", [spec.label for spec in specs])
        known: dict[str, set[str]] = {
            "modality": {str(spec.modality) for spec in specs},
            "family": {spec.family for spec in specs},
            "model": {spec.label for spec in specs},
        }
        for pair in self.align.pairs:
            for selector in (pair.x, pair.y):
                for field, value in selector.model_dump(exclude_none=True).items():
                    if value not in known[field]:
                        raise ValueError(
                            f"align.pairs names the {field} {value!r}, which no model has."
                            f"{nearest(value, known[field])} There are: "
                            f"{', '.join(sorted(known[field]))}."
                        )
        variants = [variant.name for variant in self.dataset.variants or ()]
        check_figures(
            self.figures,
            self.performance,
            self.align.metrics,
            known | {"variant": set(variants)},
        )
        return self


def model_specs(families: Iterable[FamilyConfig], dataset: DatasetConfig) -> tuple[ModelSpec, ...]:
    """Every model with its family's settings filled in; toy networks live in `dataset`."""
    return tuple(
        spec
        for family in families
        for entry in family.models
        for spec in _by_variant(_specs(family, entry, dataset), dataset)
    )


def random_copies(specs: Iterable[ModelSpec], seed: int) -> tuple[ModelSpec, ...]:
    """A random-weight copy of every model of which one means anything.

    The first of each architecture has this seed, the next ones those that follow: two copies with
    one seed would be one and the same network.
    """
    copies: list[ModelSpec] = []
    taken: Counter[tuple[str, ...]] = Counter()
    for spec in filter(_has_random_copy, specs):
        architecture = spec.name.partition(".")[0] if spec.backend == "timm" else spec.name
        same = spec.backend, architecture, spec.variant
        changes = {"random_init": True, "seed": seed + taken[same], "random_of": spec.label}
        changes |= {"adapter": None, "label": f"{spec.label} (random)"}
        copies.append(spec.model_copy(update=changes))
        taken[same] += 1
    return tuple(copies)


def refuse_bad_families(families: Iterable[FamilyConfig]) -> None:
    empty = [family.name for family in families if not family.models]
    if empty:
        raise ValueError(f"no models in {', '.join(empty)}: list at least one")
    refuse_repeats("family name", [family.name for family in families])


_BACKENDS: Mapping[Modality, Backend] = {
    "language": "transformers",
    "vision": "timm",
    "truth": "features",
    "other": "features",
}


def _has_random_copy(spec: ModelSpec) -> bool:
    """Whether a copy with random weights means anything: once per toy network, at its last step."""
    if spec.backend == "features" or spec.modality == "truth" or spec.random_init:
        return False
    return spec.step is None or spec.step == spec.training.steps


def _specs(family: FamilyConfig, entry: ModelConfig, dataset: DatasetConfig) -> Iterator[ModelSpec]:
    settings = {k: v for k, v in _said(family).items() if k != "models"} | _said(entry)
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
    spec = ModelSpec.model_validate(
        settings | {"label": label, "family": family.name, "backend": backend}
    )
    if backend != "toyworld":
        yield spec
        return
    if dataset.source != "toyworld":
        raise ValueError(f"{label}: `backend: toyworld` needs `dataset: {{source: toyworld}}`")
    if spec.modality == "truth":
        yield spec.model_copy(update={"world": dataset.world})
        return
    steps = sorted({*spec.training.checkpoints, spec.training.steps})
    for step in steps:
        own = f"{label}@{step}" if len(steps) > 1 else label
        yield spec.model_copy(update={"world": dataset.world, "step": step, "label": own})


def _by_variant(specs: Iterable[ModelSpec], dataset: DatasetConfig) -> Iterator[ModelSpec]:
    """What reads captions, once per variant; all else as it is."""
    for spec in specs:
        if not dataset.variants or spec.modality != "language" or spec.backend == "features":
            yield spec
            continue
        for variant in dataset.variants:
            world = spec.world
            if variant.caption_level is not None:
                world = world.model_copy(update={"caption_level": variant.caption_level})
            # Round brackets: in `--models`, square ones are a set of characters.
            label = f"{spec.label} ({variant.name})"
            yield spec.model_copy(update={"variant": variant.name, "world": world, "label": label})


def _said(section: Section) -> dict[str, Any]:
    """The fields that the file sets, not those left at their defaults."""
    return {name: getattr(section, name) for name in section.model_fields_set}


def refuse_repeats(kind: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"repeated {kind}: {', '.join(repeated)}")
