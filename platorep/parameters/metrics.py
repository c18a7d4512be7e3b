"""The parameters of each metric: what stands beside `name` in a YAML entry or in `score(...)`.

Light: no torch. `PARAMETERS` is the table name -> class, `parse` makes checked parameters from an
entry, `PRESETS` are lists of entries. An entry whose name holds a colon is a user's own metric; any
other that is not built in is an installed package's (`platorep.plugins`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from platorep.errors import ConfigError, nearest
from platorep.parameters.section import Section
from platorep.plugins import require_plugin

Similarity = Literal["cosine", "inner_product", "euclidean"]
Neighbors = Annotated[int, Field(ge=1)]


class MetricParameters(Section):
    """The base: a frozen section that knows the metric's name and spells it out."""

    metric: ClassVar[str]
    source: ClassVar[str] = ""
    """Who has defined it; docs/metrics.md has what is another here."""
    always: ClassVar[tuple[str, ...]] = ()
    """Parameters that the label shows even at their default."""

    def label(self) -> str:
        """Canonical text: `cka{kernel: linear, estimator: debiased}`; one text, one definition.

        Shows the parameters in `always` and every other one that is not at its default.
        """
        fields = type(self).model_fields
        shown = {
            key: getattr(self, key)
            for key, field in fields.items()
            if key in self.always or getattr(self, key) != field.default
        }
        shown |= dict(sorted((self.model_extra or {}).items()))
        inside = ", ".join(f"{key}: {_text(value)}" for key, value in shown.items())
        return f"{self.metric}{{{inside}}}" if inside else self.metric


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


class NeighborParameters(MetricParameters):
    always: ClassVar[tuple[str, ...]] = ("k",)

    k: Neighbors = 10
    """Neighbors per sample."""
    similarity: Similarity = "cosine"
    """What makes a sample near: cosine, inner product or Euclidean distance."""
    center: bool = False
    """Subtract the mean of the features first."""
    ties: Literal["shared", "lowest"] = "shared"
    """Equally near samples share the last places, or (as the released code of the paper does in
    effect) the one with the lower row number takes it; then no layer counts as degenerate."""


class MutualKnn(NeighborParameters):
    """Share of the k nearest neighbors that two layers have in common."""

    metric: ClassVar[str] = "mutual_knn"
    source: ClassVar[str] = "arXiv:2405.07987"


class JaccardKnn(NeighborParameters):
    """Neighbors that two layers have in common, as a share of those that either has."""

    metric: ClassVar[str] = "jaccard_knn"
    source: ClassVar[str] = "Jaccard 1912; arXiv:2305.06329"


class CycleKnn(NeighborParameters):
    """Share of samples that are neighbors in x of one of their neighbors in y."""

    metric: ClassVar[str] = "cycle_knn"
    source: ClassVar[str] = "arXiv:2405.07987"


class LcsKnn(NeighborParameters):
    """Longest common subsequence of two lists of neighbors, as a share of k."""

    metric: ClassVar[str] = "lcs_knn"
    source: ClassVar[str] = "arXiv:2405.07987"

    variant: Literal["paper", "code"] = "paper"
    """The length of the longest common subsequence divided by k (paper), or as it is (code)."""


class EditDistanceKnn(NeighborParameters):
    """Likeness of two lists of neighbors by the edits from one to the other."""

    metric: ClassVar[str] = "edit_distance_knn"
    source: ClassVar[str] = "arXiv:2405.07987"


class RankSimilarity(NeighborParameters):
    """Neighbors in common, weighted by the places at which they stand in both lists."""

    metric: ClassVar[str] = "rank_similarity"
    source: ClassVar[str] = "Wang et al. 2020; arXiv:2305.06329"


class SecondOrderCosine(MetricParameters):
    """Cosine of a sample's similarities, in x and in y, to its neighbors in either."""

    metric: ClassVar[str] = "second_order_cosine"
    source: ClassVar[str] = "Hamilton et al. 2016, arXiv:1606.02821"
    always: ClassVar[tuple[str, ...]] = ("k", "variant")

    k: Neighbors = 10
    """Neighbors per sample, by cosine; ties share the last places."""
    variant: Literal["paper", "code"] = "paper"
    """Compare cosines (the definition), or 1 - cosines (the code of the benchmark ReSi)."""


class _KernelParameters(MetricParameters):
    kernel: Literal["linear", "rbf"] = "linear"
    """Inner products, or exp(-distance^2 / (2 sigma^2))."""
    sigma: PositiveFloat | Literal["median"] = "median"
    """Width of the rbf kernel: a distance, or the median distance between two samples."""

    @model_validator(mode="after")
    def _sigma_needs_rbf(self) -> "_KernelParameters":
        if self.kernel == "linear" and self.sigma != "median":
            raise ValueError(f"sigma: {self.sigma} has no effect on a linear kernel")
        return self


class Cka(_KernelParameters):
    """Centred kernel alignment."""

    metric: ClassVar[str] = "cka"
    source: ClassVar[str] = "Kornblith et al. 2019, arXiv:1905.00414"
    always: ClassVar[tuple[str, ...]] = ("kernel", "estimator")

    estimator: Literal["biased", "debiased"] = "biased"
    """The HSIC inside: biased (Kornblith et al. 2019) or unbiased (Song et al. 2012)."""


class Rv(MetricParameters):
    """The RV coefficient: biased linear CKA under its older name."""

    metric: ClassVar[str] = "rv"
    source: ClassVar[str] = "Robert and Escoufier 1976"


class Cknna(_KernelParameters):
    """Centred kernel alignment over the pairs that are neighbors in both layers."""

    metric: ClassVar[str] = "cknna"
    source: ClassVar[str] = "arXiv:2405.07987"
    always: ClassVar[tuple[str, ...]] = ("k", "variant")

    k: Annotated[int, Field(ge=2)] = 10
    """Neighbors per sample."""
    variant: Literal["centred", "paper", "code"] = "centred"
    """Centre the kernel on both sides and mask (bounded, ends at debiased CKA), centre its rows
    and mask (the paper's formula), or mask the raw kernel and take unbiased HSIC (its code)."""
    ties: Literal["shared", "lowest"] = "shared"
    """As in mutual_knn."""


class Rsa(MetricParameters):
    """Correlation of two matrices of dissimilarities."""

    metric: ClassVar[str] = "rsa"
    source: ClassVar[str] = "Kriegeskorte et al. 2008"
    always: ClassVar[tuple[str, ...]] = ("rdm", "compare")

    rdm: Literal["correlation", "cosine", "euclidean"] = "correlation"
    """The dissimilarity of two samples."""
    compare: Literal["spearman", "pearson", "kendall"] = "spearman"
    """How two lists of dissimilarities are compared."""


class DistanceCorrelation(MetricParameters):
    """Correlation of doubly centred distances."""

    metric: ClassVar[str] = "distance_correlation"
    source: ClassVar[str] = "Szekely, Rizzo and Bakirov 2007"
    always: ClassVar[tuple[str, ...]] = ("estimator",)

    estimator: Literal["biased", "debiased"] = "biased"
    """The correlation (Szekely et al. 2007), or the estimate without bias of its square (2013)."""


class OrdinalTriplets(MetricParameters):
    """Share of triplets of samples whose order of distances agrees."""

    metric: ClassVar[str] = "ordinal_triplets"
    source: ClassVar[str] = "arXiv:2606.16379"

    similarity: Similarity = "cosine"
    """What near means."""
    triplets: PositiveInt = 100_000
    """Sampled triplets, the same for all models."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Which triplets are sampled."""


class CcaMean(MetricParameters):
    """Mean canonical correlation."""

    metric: ClassVar[str] = "cca_mean"
    source: ClassVar[str] = "Hotelling 1936"


class Svcca(MetricParameters):
    """Mean canonical correlation of leading principal components."""

    metric: ClassVar[str] = "svcca"
    source: ClassVar[str] = "Raghu et al. 2017, arXiv:1706.05806"
    always: ClassVar[tuple[str, ...]] = ("rank",)

    rank: PositiveInt | Annotated[float, Field(gt=0, lt=1)] = 10
    """Principal directions kept: a number, or the share of the variance that they must hold."""
    standardize: bool = False
    """Give every feature unit variance first (as the paper's released code does)."""


class Pwcca(MetricParameters):
    """Mean canonical correlation, weighted by how much of x lies along each."""

    metric: ClassVar[str] = "pwcca"
    source: ClassVar[str] = "Morcos et al. 2018, arXiv:1806.05759"


class Procrustes(MetricParameters):
    """Likeness after the best rotation."""

    metric: ClassVar[str] = "procrustes"
    source: ClassVar[str] = "Williams et al. 2021, arXiv:2110.14739"


class EigenspaceOverlap(MetricParameters):
    """Overlap of the spaces that the features span."""

    metric: ClassVar[str] = "eigenspace_overlap"
    source: ClassVar[str] = "May et al. 2019, arXiv:1909.01264"


class PermutationProcrustes(MetricParameters):
    """Likeness after the best permutation of units."""

    metric: ClassVar[str] = "permutation_procrustes"
    source: ClassVar[str] = "Williams et al. 2021, arXiv:2110.14739"


class Gulp(MetricParameters):
    """How alike ridge regressions on two layers predict, whatever the target."""

    metric: ClassVar[str] = "gulp"
    source: ClassVar[str] = "arXiv:2210.06545"
    always: ClassVar[tuple[str, ...]] = ("penalty",)

    penalty: PositiveFloat = 0.01
    """Ridge penalty, as a share of the total variance."""


class LinearPredictivity(MetricParameters):
    """Share of variance that a ridge regression from one layer to the other predicts."""

    metric: ClassVar[str] = "linear_predictivity"
    source: ClassVar[str] = "after arXiv:2106.07682"
    always: ClassVar[tuple[str, ...]] = ("penalty",)

    penalty: PositiveFloat = 0.1
    """Ridge penalty, in units of the mean squared length of the centred features."""
    folds: Literal["leave_one_out"] | Annotated[int, Field(ge=2)] = "leave_one_out"
    """Every sample its own fold (no effect of the row order), or row i in fold i modulo folds."""
    direction: Literal["both", "x_to_y", "y_to_x"] = "both"
    """Which model predicts which; `both` is the mean of the two."""


class UnitMatching(MetricParameters):
    """Share of units that are each other's best match by correlation."""

    metric: ClassVar[str] = "unit_matching"
    source: ClassVar[str] = "after arXiv:2306.09346"

    split_half: bool = False
    """Count only matches that are found on the even rows and on the odd rows alike."""


class OwnMetric(MetricParameters):
    """A user's own metric, `package.module:object`, or an installed package's; its parameters are
    passed on unchecked."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    def label(self) -> str:
        inside = ", ".join(f"{k}: {_text(v)}" for k, v in sorted((self.model_extra or {}).items()))
        return f"{self.name}{{{inside}}}" if inside else self.name


PARAMETERS: Mapping[str, type[MetricParameters]] = MappingProxyType(
    {
        parameters.metric: parameters
        for parameters in (
            MutualKnn,
            JaccardKnn,
            CycleKnn,
            LcsKnn,
            EditDistanceKnn,
            RankSimilarity,
            SecondOrderCosine,
            Cka,
            Rv,
            Cknna,
            Rsa,
            DistanceCorrelation,
            OrdinalTriplets,
            CcaMean,
            Svcca,
            Pwcca,
            Procrustes,
            PermutationProcrustes,
            EigenspaceOverlap,
            Gulp,
            LinearPredictivity,
            UnitMatching,
        )
    }
)


def parse(name: str, parameters: Mapping[str, Any]) -> MetricParameters:
    """Checked parameters of the metric `name`.

    Raises:
        UnknownNameError: no metric has that name.
        ConfigError: an unknown parameter; says which is nearest.
        pydantic.ValidationError: a wrong value.
    """
    if ":" not in name and name not in PARAMETERS:
        require_plugin("metrics", name, PARAMETERS)
    if name not in PARAMETERS:
        return OwnMetric(name=name, **parameters)
    known = PARAMETERS[name].model_fields
    if unknown := [key for key in parameters if key not in known]:
        raise ConfigError(
            f"metric {name!r} has no parameter {unknown[0]!r}.{nearest(unknown[0], known)} "
            f"Its parameters: {', '.join(known) or 'none'}."
        )
    return PARAMETERS[name].model_validate(dict(parameters))


def _prh(**own: Any) -> tuple[Mapping[str, Any], ...]:
    lists: dict[str, Any] = {"k": 10, **own.get("lists", {})}
    return (
        {"name": "mutual_knn", **lists},
        {"name": "cycle_knn", **lists},
        {"name": "lcs_knn", **lists, "variant": own["variant"]},
        {"name": "edit_distance_knn", **lists},
        {"name": "cka", "kernel": "linear", "estimator": "biased"},
        {"name": "cka", "kernel": "linear", "estimator": "debiased"},
        {"name": "cknna", "k": 10, "variant": own["variant"], **own.get("cknna", {})},
        {"name": "svcca", "rank": 10, "standardize": True},
    )


PRESETS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "prh-code": _prh(
            variant="code",
            lists={"similarity": "inner_product", "ties": "lowest"},
            cknna={"ties": "lowest"},
        ),
        "prh-paper": _prh(variant="paper"),
    }
)
"""The eight metrics of arXiv:2405.07987 as its released code computes them, and by its text."""
