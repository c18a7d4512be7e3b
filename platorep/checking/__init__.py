"""`platorep check`: can a model's features be trusted?

The same samples are read again with one thing changed: in a batch, in another precision, by a
saved copy. `checks` lists the ways, `trust` says how far features moved and what is too far,
`judging` puts a model to the checks, `stage` finds models and samples.
"""

from platorep.checking.checks import CHECKS
from platorep.checking.stage import Asked, by_layer, check_models, in_short

__all__ = ["CHECKS", "Asked", "by_layer", "check_models", "in_short"]
