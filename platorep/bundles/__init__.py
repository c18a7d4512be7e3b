"""Bundles: a finished experiment as one folder or archive that others can read.

docs/format.md is the specification of what lies in one. Here is what reads it, whoever wrote it;
`platorep.packing` writes one, and opens it as an experiment.
"""

from platorep.bundles.about import FORMAT_VERSION, About, Listed, Lists
from platorep.bundles.checking import Limits, limits
from platorep.bundles.finding import Bundle, find_bundle

__all__ = [
    "FORMAT_VERSION",
    "About",
    "Bundle",
    "Limits",
    "Listed",
    "Lists",
    "find_bundle",
    "limits",
]
