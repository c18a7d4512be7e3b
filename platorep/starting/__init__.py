"""The first experiment: what the data hold, which models suit, and a YAML file with comments."""

from platorep.starting.stage import Wanted, start

__all__ = ["Wanted", "start"]
