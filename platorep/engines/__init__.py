"""Who carries out the work of a stage. `platorep.engines.unit` is the protocol between the two."""

from platorep.engines.local import LocalEngine
from platorep.engines.unit import Done, Engine, Kept, Needs, Talk, Unit, Work

__all__ = ["Done", "Engine", "Kept", "LocalEngine", "Needs", "Talk", "Unit", "Work"]
