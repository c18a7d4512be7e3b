"""Scene -> caption: one template, the objects in random order, four synonyms per concept.

One template only: with several, the neighbors of a trained language model follow the syntax, and
random features (a bag of words) match or beat trained ones.
"""

from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.scenes import Scene, Thing

SHAPE_WORDS = (
    ("disc", "circle", "ball", "coin"),
    ("square", "box", "block", "tile"),
    ("triangle", "wedge", "pyramid", "arrowhead"),
    ("diamond", "rhombus", "lozenge", "kite"),
    ("cross", "plus", "crossing", "intersection"),
    ("ring", "hoop", "loop", "donut"),
    ("bar", "stick", "rod", "plank"),
    ("crescent", "moon", "sickle", "banana"),
)
COLOR_WORDS = (
    ("red", "scarlet", "crimson", "ruby"),
    ("orange", "amber", "tangerine", "copper"),
    ("yellow", "golden", "lemon", "canary"),
    ("green", "emerald", "grassy", "olive"),
    ("cyan", "turquoise", "teal", "aqua"),
    ("blue", "navy", "azure", "cobalt"),
    ("purple", "violet", "mauve", "plum"),
    ("pink", "rosy", "magenta", "salmon"),
)
TEXTURE_WORDS = (
    ("plain", "bare", "even", "blank"),
    ("striped", "ruled", "banded", "lined"),
    ("barred", "fenced", "columned", "pinstriped"),
    ("slanted", "diagonal", "oblique", "twilled"),
    ("checked", "chequered", "tartan", "latticed"),
    ("dotted", "spotted", "speckled", "freckled"),
)
SIZE_WORDS = (
    ("small", "little", "tiny", "short"),
    ("medium", "middling", "average", "moderate"),
    ("large", "big", "huge", "great"),
)
ROW_WORDS = (
    ("top", "upper", "high", "raised"),
    ("middle", "midway", "halfway", "level"),
    ("bottom", "lower", "low", "sunken"),
)
COLUMN_WORDS = (
    ("left", "west", "leftward", "port"),
    ("center", "central", "inner", "core"),
    ("right", "east", "rightward", "starboard"),
)
SYNONYM_WEIGHTS = (12, 6, 4, 3)  # Zipf: 1, 1/2, 1/3, 1/4
FUNCTION_WORDS = ("and", "on", "ground")

MAX_LEVEL = 5


def vocabulary() -> tuple[str, ...]:
    """Every word a caption can hold, in a fixed order."""
    tables = (SHAPE_WORDS, COLOR_WORDS, TEXTURE_WORDS, SIZE_WORDS, ROW_WORDS, COLUMN_WORDS)
    words = (word for table in tables for synonyms in table for word in synonyms)
    return (*FUNCTION_WORDS, *words)


def caption(
    world: WorldParameters, scene: Scene, level: int | None = None, variant: int = 0
) -> str:
    """What is said of a scene, as in `large red disc top left and ... on striped ground`.

    Args:
        level: 1 shapes, 2 colours too, 3 texture, 4 positions, 5 sizes; None: the world's own.
            A higher level adds words to the same sentence and changes none.
        variant: Another variant orders the objects and chooses the synonyms anew.
    """
    level = world.caption_level if level is None else level
    assert 1 <= level <= MAX_LEVEL, level
    draws = Draws(world.seed, scene.index, Purpose.CAPTION, variant)

    def word(synonyms: tuple[str, ...]) -> str:
        return synonyms[draws.choice(SYNONYM_WEIGHTS)]

    def phrase(thing: Thing) -> str:
        size, color = word(SIZE_WORDS[thing.size]), word(COLOR_WORDS[thing.color])
        shape = word(SHAPE_WORDS[thing.shape])
        row, column = word(ROW_WORDS[thing.row]), word(COLUMN_WORDS[thing.column])
        told = ((5, size), (2, color), (1, shape), (4, row), (4, column))
        return " ".join(text for needed, text in told if level >= needed)

    texture = word(TEXTURE_WORDS[scene.texture])
    order = draws.order(len(scene.things))
    text = " and ".join(phrase(scene.things[number]) for number in order)
    return f"{text} on {texture} ground" if level >= 3 else text
