"""What preprocessing does to each layer of a finished extraction: docs/preprocessing.md.

    python scripts/plot_preprocessing.py RESULTS PNG VISION LANGUAGE [LANGUAGE ...]

One column per language model: its best alignment with any layer of VISION (mutual k-NN, k = 10),
and below it the share of the squared length in one unit, over its layers. Prints the maxima.
"""

import sys

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator
from torch import Tensor

import platorep
from platorep.config import PreprocessConfig
from platorep.plots.style import DOUBLE, GREY, HUES, SMALL, figure_style
from platorep.preprocess import preprocess

STEPS = {
    "paper: one threshold per model": PreprocessConfig.model_validate("paper"),
    "threshold per layer": PreprocessConfig(center="none"),
    "threshold per layer, mean subtracted (default)": PreprocessConfig(),
}
COLORS = (GREY, HUES[4], HUES[0])


def shares(layers: list[Tensor]) -> list[float]:
    """Of the squared length of each layer, in its largest unit."""
    squares = [layer.square().sum(dim=0) for layer in layers]
    return [float(units.max() / units.sum()) for units in squares]


def main(results: str, target: str, vision: str, *language: str) -> None:
    seen = platorep.load_features(results, vision).layers
    with figure_style():
        figure, axes = plt.subplots(
            2, len(language), figsize=(DOUBLE, 3.2), sharex="col", sharey="row",
            squeeze=False, layout="constrained", height_ratios=[3, 2],
        )  # fmt: skip
        for (above, below), name in zip(axes.T, language, strict=True):
            read = platorep.load_features(results, name).layers
            below.plot(shares(read), color="black", linestyle="--", label="as extracted")
            for (label, config), color in zip(STEPS.items(), COLORS, strict=True):
                layers = preprocess(read, config)
                scores = platorep.score(layers, preprocess(seen, config)).max(axis=1)
                print(f"{name}, {label}: {scores.max():.4f} at layer {scores.argmax()}")
                above.plot(scores, color=color)
                below.plot(shares(layers), color=color, label=label)
            chance = 10 / (len(read[0]) - 1)
            above.axhline(chance, color="black", linewidth=0.6, linestyle=":")
            above.text(0, chance, "chance", fontsize=SMALL, va="bottom")
            below.xaxis.set_major_locator(MaxNLocator(integer=True))
            above.set_title(name)
            below.set_xlabel("layer")
        axes[0, 0].set_ylabel(f"alignment with\n{vision}")
        axes[1, 0].set_ylabel("share of squared length\nin one unit")
        axes[0, 0].set_ylim(bottom=0)
        axes[1, 0].set_ylim(0, 1)
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figure.savefig(target, dpi=200)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
