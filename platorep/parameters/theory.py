"""What a file may say for `platorep theory pmi`. Light: pydantic only."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from platorep.parameters.section import Section

Loss = Literal["nce", "infonce"]
Encoders = Literal["tied", "untied"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class EventsParameters(Section):
    """A world of discrete events: how likely each is, and how likely two occur together."""

    name: str
    """What the table and the figure call it."""
    num_events: Annotated[int, Field(ge=4, le=1000)] = 40
    causes: Literal["factors", "contexts"] = "factors"
    """Why two events occur together. factors: each has a vector, and the log of their affinity is
    the inner product, so that PMI is nearly of low rank and nearly a kernel. contexts: one of a few
    hidden contexts makes both, so that PMI is neither."""
    num_causes: Annotated[int, Field(ge=1, le=1000)] = 6
    strength: PositiveFloat = 0.5
    """factors: the standard deviation of the log affinity of two events."""
    concentration: PositiveFloat = 0.5
    """contexts: Dirichlet concentration of an event's shares in the contexts; small, and most
    events belong to one."""
    floor: PositiveFloat = 0.1
    """contexts: added to the affinity of every two events (its mean is 1)."""
    marginals: Literal["uniform", "zipf"] = "uniform"
    """All events equally often, or the r-th with weight 1/r."""
    self_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the pairs that are one event twice, besides those that the causes make."""
    seed: NonNegativeInt = 0


class LearnersParameters(Section):
    """How encoders of the events are trained on pairs that occur together."""

    losses: Annotated[tuple[Loss, ...], Field(min_length=1)] = ("nce", "infonce")
    """Binary noise-contrastive estimation with negatives from the marginals, and InfoNCE."""
    encoders: Annotated[tuple[Encoders, ...], Field(min_length=1)] = ("tied", "untied")
    """One table of vectors for both members of a pair (a positive semidefinite kernel), or two."""
    dimensions: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2, 4, 8, 16)
    steps: PositiveInt = 400
    checkpoints: tuple[NonNegativeInt, ...] = ()
    """Steps at which the kernels are looked at besides the last."""
    learning_rate: PositiveFloat = 0.05
    """Peak of Adam's learning rate; half a cosine brings it down to zero."""
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _checkpoints_are_reached(self) -> "LearnersParameters":
        beyond = [step for step in self.checkpoints if step > self.steps]
        if beyond:
            raise ValueError(f"checkpoints: step {beyond[0]} is beyond the last, {self.steps}")
        return self


class PmiConfig(Section):
    """Do contrastive learners of the same events end at the same kernel, and is it the PMI?"""

    name: Name
    worlds: Annotated[tuple[EventsParameters, ...], Field(min_length=1)]
    learners: LearnersParameters = LearnersParameters()
    merged: Annotated[int, Field(ge=2)] = 2
    """The lossy observation shows so many events as one symbol."""

    @model_validator(mode="after")
    def _names_differ(self) -> "PmiConfig":
        names = [world.name for world in self.worlds]
        if len(set(names)) < len(names):
            raise ValueError(f"worlds: two have one name; found {', '.join(names)}")
        return self
