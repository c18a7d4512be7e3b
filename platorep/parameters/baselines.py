"""The baselines by name: what needs no network, and should be beaten by one. Light: no library."""

from collections.abc import Mapping

from platorep.parameters.views import KindName, Modality

BASELINES: Mapping[str, KindName] = {
    "bag of words": "text",
    "colour histogram": "image",
    "grey thumbnail": "image",
    "mean log-mel": "audio",
}
"""Each baseline, and the kind of view that it is of."""
BASELINE_MODALITY: Mapping[KindName, Modality] = {
    "text": "language",
    "image": "vision",
    "audio": "audio",
}
BASELINES_FAMILY = "baselines"
