"""The figures of the shipped experiments name metrics, families and measures that are there."""

import pandas as pd
import pytest

from platorep.config import ExperimentConfig, load_config, shipped_configs
from platorep.parameters.figures import ConvergenceFigure, DownstreamFigure, MetricGridFigure
from platorep.plots.tables import of_metric

EXPERIMENTS = {
    name: config
    for name, path in shipped_configs().items()
    if not name.startswith("theory") and isinstance(config := load_config(path), ExperimentConfig)
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_metric_that_a_figure_names_is_scored(name: str) -> None:
    config = EXPERIMENTS[name]
    labels = [entry.parameters.label() for entry in config.align.metrics]
    table = pd.DataFrame({"metric": labels})
    for figure in config.figures:
        if isinstance(figure, MetricGridFigure):
            named = figure.metrics or ()
        elif figure.kind == "k_sweep":  # a bare name, of a metric with several k
            assert sum(label.split("{")[0] == figure.metric for label in labels) > 1
            continue
        else:
            named = (figure.metric,) if figure.metric else ()
        for metric in named:
            assert len(of_metric(table, metric)) == 1  # raises if there is none, or several


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_families_and_pairs_that_a_figure_names_are_there(name: str) -> None:
    config = EXPERIMENTS[name]
    families = {spec.family for spec in config.models()}
    pairs = [(pair.x.modality, pair.y.modality) for pair in config.align.pairs]
    for figure in config.figures:
        if isinstance(figure, DownstreamFigure):
            assert set(figure.held_out) <= families
            assert figure.reference.family in {None, *families}
            assert figure.y in {measure.name for measure in config.performance}
        if isinstance(figure, ConvergenceFigure):
            assert (figure.models, figure.models) in pairs
        if figure.kind == "metric_correlation":
            assert ("vision", "vision") in pairs


def test_figure_4_has_twenty_language_models_and_figure_2_eighteen_vision_models() -> None:
    downstream, vision = EXPERIMENTS["prh-downstream"], EXPERIMENTS["prh-vision"]

    assert sum(spec.modality == "language" for spec in downstream.models()) == 20
    assert len(vision.models()) == 18
    assert [spec.label for spec in vision.models() if spec.random_init] == ["resnet50 (random)"]
