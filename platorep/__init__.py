"""Do neural networks, trained apart, converge on one representation of the world? Measure it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platorep.api import Reference, list_metrics, load_features, score
    from platorep.opened import Features, open_results
    from platorep.packing import open_bundle
    from platorep.with_null import ScoreWithNull

__version__ = "0.1.0"
__all__ = [
    "Features",
    "Reference",
    "ScoreWithNull",
    "__version__",
    "list_metrics",
    "load_features",
    "open_bundle",
    "open_results",
    "score",
]


def __getattr__(name: str) -> Any:
    """Import the interface on first use: `import platorep` alone must stay light."""
    if name in __all__:
        from importlib import import_module

        place = {"open_bundle": "packing", "open_results": "opened"}.get(name, "api")
        return getattr(import_module(f"platorep.{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
