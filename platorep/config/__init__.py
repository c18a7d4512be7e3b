"""The YAML's shape (`experiment`) and its only reader (`reading`)."""

from platorep.config.experiment import (
    AlignConfig,
    BitsPerByteConfig,
    ControlsConfig,
    DatasetConfig,
    ExperimentConfig,
    ExtractConfig,
    FamilyConfig,
    MetricConfig,
    ModelConfig,
    ModelSettings,
    ModelSpec,
    PairConfig,
    PreprocessConfig,
    SelectorConfig,
    TableConfig,
    TransformConfig,
)
from platorep.config.reading import config_path, load_config, shipped_configs

__all__ = [
    "AlignConfig",
    "BitsPerByteConfig",
    "ControlsConfig",
    "DatasetConfig",
    "ExperimentConfig",
    "ExtractConfig",
    "FamilyConfig",
    "MetricConfig",
    "ModelConfig",
    "ModelSettings",
    "ModelSpec",
    "PairConfig",
    "PreprocessConfig",
    "SelectorConfig",
    "TableConfig",
    "TransformConfig",
    "config_path",
    "load_config",
    "shipped_configs",
]
