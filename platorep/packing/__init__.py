"""A finished experiment as a bundle: packing one, and opening one as an experiment."""

from platorep.packing.opening import open_bundle
from platorep.packing.pack import Choice, pack

__all__ = ["Choice", "open_bundle", "pack"]
