"""Whether what the figures of an experiment name is there: told before anything is computed."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from platorep.config.align import MetricConfig
from platorep.config.performance import PerformanceConfig
from platorep.errors import nearest
from platorep.parameters.figures import SIZE, DownstreamFigure, FigureParameters


def check_figures(
    figures: Sequence[FigureParameters],
    measures: Sequence[PerformanceConfig],
    metrics: Sequence[MetricConfig],
    models: Mapping[str, Collection[str]],
) -> None:
    """Refuse a figure over what the experiment does not have.

    Args:
        models: `model`, `family`, `view` -> the names that there are.

    Raises:
        ValueError: names the figure, the key, and the nearest name.
    """
    labels = [metric.parameters.label() for metric in metrics]
    scored = Counter(label.partition("{")[0] for label in labels)
    known: dict[str, Collection[str]] = {
        **models,
        "measure": [SIZE, *(measure.name for measure in measures)],
        "metric": [*labels, *(name for name, times in scored.items() if times == 1)],
        "metric scored at several k": [name for name, times in scored.items() if times > 1],
    }
    for number, figure in enumerate(figures):
        for key, what, name in _mentions(figure):
            if name in known[what]:
                continue
            written = key.partition(".")[0] in figure.model_fields_set
            default = "" if written else " (the default)"
            raise ValueError(
                f"figures.{number} ({figure.kind}): {key}: {name!r}{default} "
                f"is no {what} of this experiment.{nearest(name, known[what])} There are: "
                f"{', '.join(dict.fromkeys(known[what])) or 'none'}."
            )


def _mentions(figure: FigureParameters) -> Iterator[tuple[str, str, str]]:
    yield from figure.mentions()
    if isinstance(figure, DownstreamFigure):
        for what in ("family", "model"):
            if name := getattr(figure.reference, what):
                yield f"reference.{what}", what, name
