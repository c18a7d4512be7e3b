"""The YAML's shape, section by section and as a whole (`experiment`), and its only reader."""

from platorep.config.align import (
    AlignConfig,
    GalleryConfig,
    IntervalConfig,
    MetricConfig,
    NullConfig,
    PairConfig,
    PreprocessConfig,
    SelectorConfig,
)
from platorep.config.data import (
    BitsPerByteConfig,
    DatasetConfig,
    TableConfig,
)
from platorep.config.experiment import (
    ControlsConfig,
    ExperimentConfig,
)
from platorep.config.models import (
    ExtractConfig,
    FamilyConfig,
    ModelConfig,
    ModelSettings,
    ModelSpec,
    TransformConfig,
)
from platorep.config.reading import config_path, load_config, load_theory, shipped_configs

__all__ = [
    "AlignConfig",
    "BitsPerByteConfig",
    "ControlsConfig",
    "DatasetConfig",
    "ExperimentConfig",
    "ExtractConfig",
    "FamilyConfig",
    "GalleryConfig",
    "IntervalConfig",
    "MetricConfig",
    "ModelConfig",
    "ModelSettings",
    "ModelSpec",
    "NullConfig",
    "PairConfig",
    "PreprocessConfig",
    "SelectorConfig",
    "TableConfig",
    "TransformConfig",
    "config_path",
    "load_config",
    "load_theory",
    "shipped_configs",
]
