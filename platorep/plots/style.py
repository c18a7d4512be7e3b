"""How every figure looks: sizes in print, fonts, colours. Nothing here is global."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_hex, to_rgb

SINGLE, DOUBLE = 3.3, 6.9  # column widths in print, inches
SMALL, NORMAL = 6.0, 7.0  # font sizes in points
LINE = 1.22 * SMALL / 72  # height of a line of small text, inches

# Okabe and Ito's colour-blind safe palette; their yellow is too light for a line, and a wine red
# of Paul Tol's stands for their black.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
FILLS = ("full", "left", "bottom", "right", "top")  # for a second dozen of families, and more
GREY = "#7f7f7f"  # controls
FAINT = "#dddddd"  # guides
CEILING = "#f3ead2"  # how high noise lets a score be
MISSING = "#e6e6e6"  # cells without a score
HATCH = "////"  # cells that are not above the null
SEQUENTIAL = "viridis"

FONTS = ("DejaVu Sans", "STIXGeneral", "DejaVu Serif")
"""All come with matplotlib: the same figure on every machine."""

_SETTINGS: Any = {
    "font.size": NORMAL,
    "axes.labelsize": NORMAL,
    "axes.titlesize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelpad": 2.5,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.minor.size": 1.2,
    "xtick.minor.width": 0.4,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "lines.linewidth": 0.9,
    "lines.markersize": 2.8,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "text.parse_math": False,  # a $ in a model's name is a $
    "text.usetex": False,
    "pdf.fonttype": 42,  # real fonts, so that text can be searched and edited
    "figure.dpi": 100,
    "savefig.dpi": 300,
}


@contextmanager
def figure_style(fonts: Sequence[str] = FONTS) -> Iterator[None]:
    """Our settings on matplotlib's defaults, whatever the user's own are; undone at the end.

    Args:
        fonts: Names of families; a character is taken from the first that has it.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS | {"font.family": list(fonts)})
        yield


def shades(hue: str, count: int) -> list[str]:
    """`count` shades of one hue, light to dark; a single one is the hue itself."""
    if count == 1:
        return [hue]
    base, white, black = np.array(to_rgb(hue)), np.ones(3), np.zeros(3)
    mixes = np.linspace(-0.45, 0.45, count)  # below 0: towards white; above: towards black
    mixed = [base + abs(mix) * ((white if mix < 0 else black) - base) for mix in mixes.tolist()]
    return [to_hex(tuple(colour.tolist())) for colour in mixed]


def shape(index: int) -> dict[str, Any]:
    """The marker of the family of this number, as `plot` takes it: 60 of them differ."""
    fill = FILLS[index // len(MARKERS) % len(FILLS)]
    marker = MARKERS[index % len(MARKERS)]
    return {"marker": marker, "fillstyle": fill, "markerfacecoloralt": "white"}


def mark(index: int, colour: str, *, filled: bool = True) -> dict[str, Any]:
    """A `shape` in one colour; one that is not filled is white, with an edge."""
    own = shape(index)
    half = own["fillstyle"] != "full"
    if not filled and half:
        own["markerfacecoloralt"] = FAINT
    edge = 0.0 if filled and not half else 0.5
    face = colour if filled else "white"
    return own | {"ls": "", "color": colour, "mec": colour, "mfc": face, "mew": edge}


def readable(colour: str) -> str:
    """`colour`, darkened until small text in it reads well on white."""
    rgb = np.array(to_rgb(colour))
    while _luminance(rgb) > 0.22:
        rgb = rgb * 0.95
    return to_hex(tuple(rgb.tolist()))


def text_colour(background: Sequence[float]) -> str:
    """Black or white, whichever reads better on `background` (red, green, blue from 0 to 1)."""
    return "black" if _luminance(background) > 0.179 else "white"


def _luminance(colour: Sequence[float] | Float[np.ndarray, "3"]) -> float:
    """Relative luminance after WCAG 2."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]
    )
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)
