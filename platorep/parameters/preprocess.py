"""What is done to features before any metric sees them. docs/preprocessing.md says why.

The order is that of the fields: clip, `center: before` or `standardize`, `normalize`,
`center: after`, `remove_components`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, model_validator

from platorep.errors import nearest, shown
from platorep.parameters.section import Section

OF_0_1_0 = {
    "clip_quantile": 0.95,
    "clip_scope": "model",
    "clip_estimate": "sample_mean",
    "normalize": "l2",
}
"""The four settings of 0.1.0 at their values there, which are the paper's."""


class PreprocessConfig(Section):
    """`paper` is short for what the paper does: one threshold per model, nothing centred."""

    clip_quantile: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Features are clipped to this quantile of |value|; 1 turns clipping off."""
    clip_scope: Literal["model", "layer"] = "layer"
    """One threshold for all layers of a model, or one for each layer."""
    clip_estimate: Literal["sample_mean", "exact"] = "sample_mean"
    """The mean over samples of each sample's quantile, or the quantile over all values."""
    standardize: bool = False
    """Then every unit gets mean 0 and standard deviation 1 over the rows."""
    normalize: Literal["l2", "none"] = "l2"
    """Then every row is scaled to length 1."""
    center: Literal["after", "before", "none"] = "after"
    """The mean over the rows is subtracted after they are scaled to length 1, or before, or not."""
    remove_components: NonNegativeInt = 0
    """Last, so many first principal components are taken out (with `center: after`)."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        """`paper`; and a section as 0.1.0 wrote it in full, which knew of no centring."""
        if value == "paper":
            value = OF_0_1_0
        if isinstance(value, str):
            raise ValueError(
                f"must be `paper` or a section with some of {', '.join(cls.model_fields)}; "
                f"found {shown(value)}.{nearest(value, ['paper'])}"
            )
        if isinstance(value, Mapping) and value.keys() == OF_0_1_0.keys():
            value = {**value, "center": "none"}
        return value

    @model_validator(mode="after")
    def _steps_fit(self) -> "PreprocessConfig":
        if self.standardize and self.center == "before":
            raise ValueError(
                "center: before has no effect beside `standardize`, which centres too; say "
                "`center: after` or `none`"
            )
        if self.remove_components and self.center != "after":
            raise ValueError(
                "remove_components: takes principal components of centred rows; say `center: after`"
            )
        return self
