"""The metrics that an experiment asks for, and at which layers."""

from dataclasses import dataclass

from platorep.config import ExperimentConfig, MetricConfig
from platorep.errors import ConfigError
from platorep.metrics import BoundMetric, bind
from platorep.own_code import code_hashes
from platorep.parameters.metrics import PARAMETERS, OwnMetric
from platorep.plugins import require_plugin


@dataclass(frozen=True)
class Asked:
    """A metric of the experiment, and the layers it is asked at."""

    metric: BoundMetric
    config: MetricConfig

    @property
    def label(self) -> str:
        return self.metric.label

    @property
    def code(self) -> list[str]:
        """What tells the code of a user's own, or a package's, from that of another version."""
        return own_code_of(self.config)

    @property
    def has_null(self) -> bool:
        """What costs each layer pair its own time has a null at chosen layers only."""
        return self.metric.claims.cost == "grid" or self.config.layers != "all"

    def layers(self, num_layers: int) -> list[int]:
        """Indices of the asked layers of a model with `num_layers`.

        Raises:
            ConfigError: a layer does not exist.
        """
        asked = self.config.layers
        if asked == "all":
            return list(range(num_layers))
        if asked == "last":
            return [num_layers - 1]
        assert not isinstance(asked, str), "the layers of `best of` depend on the model pair"
        outside = [i for i in asked if not -num_layers <= i < num_layers]
        if outside:
            raise ConfigError(
                f"align.metrics: {self.label} asks for layers {outside} of a model that has "
                f"{num_layers}. Count from 0, or from the end with negative numbers."
            )
        return sorted({i % num_layers for i in asked})


def own_code_of(config: MetricConfig) -> list[str]:
    """Hashes of the code of a metric that is not built in, after the version of its package if it
    is an installed package's."""
    name = config.name
    if ":" in name:
        return code_hashes(name, f"metric {name!r}")
    if isinstance(config.parameters, OwnMetric):
        return require_plugin("metrics", name, PARAMETERS).identity()
    return []


def ask(config: MetricConfig) -> Asked:
    return Asked(bind(config.name, config.parameters), config)


def asked_metrics(config: ExperimentConfig) -> list[Asked]:
    return [ask(entry) for entry in config.align.metrics]
