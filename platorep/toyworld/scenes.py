"""The world: hidden places with habits, and the scenes that happen there.

A scene is a place, a texture and two or three objects on a 3 x 3 grid. All statistical dependence
comes from the place: given the place, textures, shapes, sizes and cells are independent, and
a colour depends on the shape. Scenes are numbered; scene i does not depend on how many are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from platorep.parameters.toyworld import (
    COLORS,
    COLUMNS,
    ROWS,
    SHAPES,
    SIZES,
    TEXTURES,
    WorldParameters,
)
from platorep.toyworld.draws import Draws, Purpose, urn

COUNTS = (2, 3)

TRAINING_OFFSET = 2**40
"""Scenes from here on are for training; evaluation pairs are numbered from 0."""
HELD_OUT_OFFSET = 2**41
"""Scenes from here on are for bits per byte."""
ELSEWHEN_FRAME = 2**20
"""Frames from here on are those of the other scene of the same place."""
STRANGE_FRAME = 2**21
"""The frame of a scene that has nothing to do with that of its number."""
AGAIN_FRAME = 2**22
"""Frames from here on are of other recordings: nothing but their nuisance is drawn."""

T = TypeVar("T")


@dataclass(frozen=True)
class Thing:
    """One object; the numbers are indices into the tables above."""

    shape: int
    color: int
    size: int
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    index: int
    place: int
    texture: int
    things: tuple[Thing, ...]
    frame: int = 0
    """Frames of a scene share all but the cells and the nuisance."""


@dataclass(frozen=True)
class Place:
    """Integer weights of each category."""

    textures: tuple[int, ...]
    shapes: tuple[int, ...]
    colors: tuple[tuple[int, ...], ...]
    """One row per shape."""
    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    counts: tuple[int, ...]


@lru_cache(maxsize=16)
def places(world: WorldParameters) -> tuple[Place, ...]:
    """The habits of every place, mixed with the uniform share."""
    uniform = round(1000 * world.uniform_share)

    def weights(draws: Draws, num: int, concentration: float) -> tuple[int, ...]:
        counts = urn(draws, num, concentration)
        total = sum(counts)
        return tuple((1000 - uniform) * count * num + uniform * total for count in counts)

    def place(index: int) -> Place:
        draws = Draws(world.seed, index, Purpose.PLACES)
        strict, loose = world.concentration, world.layout_concentration
        return Place(
            textures=weights(draws, len(TEXTURES), strict),
            shapes=weights(draws, len(SHAPES), strict),
            colors=tuple(weights(draws, len(COLORS), strict) for _ in SHAPES),
            sizes=weights(draws, len(SIZES), loose),
            rows=weights(draws, len(ROWS), loose),
            columns=weights(draws, len(COLUMNS), loose),
            counts=weights(draws, len(COUNTS), loose),
        )

    return tuple(place(index) for index in range(world.num_places))


def place_weights(num_places: int) -> list[int]:
    """Zipf's law in integers: the r-th place has weight 1/r."""
    return [10**6 // rank for rank in range(1, num_places + 1)]


def sample_scene(
    world: WorldParameters, index: int, frame: int = 0, *, elsewhen: bool = False
) -> Scene:
    """Scene number `index` of the world, 0 <= index < 2**63.

    Args:
        elsewhen: Another scene of the same place, independent of the first given the place.
    """
    draws = Draws(world.seed, index, Purpose.SCENE)
    number = draws.choice(place_weights(world.num_places))
    if elsewhen:
        draws = Draws(world.seed, index, Purpose.SCENE, repeat=1)
        frame += ELSEWHEN_FRAME
    return _in_place(world, index, number, draws, frame)


def _in_place(world: WorldParameters, index: int, number: int, draws: Draws, frame: int) -> Scene:
    place = places(world)[number]
    texture = draws.choice(place.textures)
    kinds = []
    for _ in range(COUNTS[draws.choice(place.counts)]):
        shape = draws.choice(place.shapes)
        kinds.append((shape, draws.choice(place.colors[shape]), draws.choice(place.sizes)))
    cells = _cells(Draws(world.seed, index, Purpose.CELLS, frame), place, len(kinds))
    things = tuple(Thing(*kind, *cell) for kind, cell in zip(kinds, cells, strict=True))
    return Scene(index=index, place=number, texture=texture, things=things, frame=frame)


def told_scene(world: WorldParameters, scene: Scene) -> Scene:
    """The scene that the caption beside a picture of `scene` tells of: `pairs` and `shared` of the
    world say how much of it is the same.

    Each attribute is the picture's or that of one other scene, drawn apart; those of the picture at
    some share are the picture's at every greater one.
    """
    if world.pairs == "same_place":
        return sample_scene(world, scene.index, elsewhen=True)
    if world.shared == 1:
        return scene
    other = _stranger(world, scene.index)
    draws = Draws(world.seed, scene.index, Purpose.SHARED)
    thousandths = round(1000 * world.shared)

    def either(*ones: T) -> T:
        """Of the picture's and the other's one; a third object may be in one of them alone."""
        return ones[draws.below(1000) >= thousandths and len(ones) > 1]

    texture = either(scene.texture, other.texture)
    num = len(either(scene.things, other.things))
    sources = either((scene, other), (other, scene))
    cells = list(dict.fromkeys((t.row, t.column) for one in sources for t in one.things))
    things = []
    for number in range(num):
        of = [s.things[number] for s in (scene, other) if number < len(s.things)]
        shape, color, size = either(*of).shape, either(*of).color, either(*of).size
        things.append(Thing(shape, color, size, *cells[number]))
    return replace(scene, texture=texture, things=tuple(things))


def _stranger(world: WorldParameters, index: int) -> Scene:
    """A scene of any place that has nothing to do with the scene of this number."""
    draws = Draws(world.seed, index, Purpose.SCENE, repeat=2)
    number = draws.choice(place_weights(world.num_places))
    return _in_place(world, index, number, draws, STRANGE_FRAME)


def _cells(draws: Draws, place: Place, num: int) -> list[tuple[int, int]]:
    """`num` different cells, each drawn with weight row x column among those that are free."""
    cells = [(row, column) for row in range(len(ROWS)) for column in range(len(COLUMNS))]
    chosen = []
    for _ in range(num):
        weights = [place.rows[row] * place.columns[column] for row, column in cells]
        chosen.append(cells.pop(draws.choice(weights)))
    return chosen


def recorded_again(scene: Scene, number: int) -> Scene:
    """The same scene for another recording, its number from 1: all but the nuisance as it is."""
    return replace(scene, frame=scene.frame + number * AGAIN_FRAME)


def sample_pairs(world: WorldParameters, num: int, offset: int = 0) -> list[Scene]:
    """Scenes offset .. offset + num - 1; the evaluation pairs start at 0."""
    return [sample_scene(world, index) for index in range(offset, offset + num)]


def sample_frames(world: WorldParameters, index: int, num: int) -> Sequence[Scene]:
    """`num` frames of one scene: what a camera sees at different times."""
    return [sample_scene(world, index, frame) for frame in range(num)]
