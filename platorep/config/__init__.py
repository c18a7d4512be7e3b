"""The YAML's shape, section by section and as a whole (`experiment`), and its only reader."""

from platorep.config.align import (
    AlignConfig,
    GalleryConfig,
    IntervalConfig,
    MetricConfig,
    NullConfig,
    PairConfig,
    SelectorConfig,
)
from platorep.config.color import ColorConfig, ImageSetConfig
from platorep.config.data import DatasetConfig
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
    hashes_column,
)
from platorep.config.performance import (
    BitsPerByteConfig,
    HarnessConfig,
    LabelledConfig,
    PerformanceConfig,
    ProbeConfig,
    TableConfig,
    TasksSolvedConfig,
    TaskTableConfig,
    WordsConfig,
)
from platorep.config.reading import (
    config_path,
    load_color,
    load_config,
    load_theory,
    shipped_configs,
)
from platorep.parameters.preprocess import PreprocessConfig

__all__ = [
    "AlignConfig",
    "BitsPerByteConfig",
    "ColorConfig",
    "ControlsConfig",
    "DatasetConfig",
    "ExperimentConfig",
    "ExtractConfig",
    "FamilyConfig",
    "GalleryConfig",
    "HarnessConfig",
    "ImageSetConfig",
    "IntervalConfig",
    "LabelledConfig",
    "MetricConfig",
    "ModelConfig",
    "ModelSettings",
    "ModelSpec",
    "NullConfig",
    "PairConfig",
    "PerformanceConfig",
    "PreprocessConfig",
    "ProbeConfig",
    "SelectorConfig",
    "TableConfig",
    "TaskTableConfig",
    "TasksSolvedConfig",
    "TransformConfig",
    "WordsConfig",
    "config_path",
    "hashes_column",
    "load_color",
    "load_config",
    "load_theory",
    "shipped_configs",
]
