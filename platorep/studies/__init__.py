"""Beyond scores: what can be carried from one network to another, and what single units share.

To add a study: its section in `platorep.config.bridges` or `units`, its arithmetic in the room of
that name, a module here, an entry below and its command in `platorep.cli`.
"""

from collections.abc import Mapping

from platorep.registry import index_by_name
from platorep.studies.bridge_map import bridge_map
from platorep.studies.bridge_match import bridge_match
from platorep.studies.bridge_stitch import stitch
from platorep.studies.context import Study
from platorep.studies.stage import study
from platorep.studies.units_filters import units_filters
from platorep.studies.units_match import units_match

__all__ = ["STUDIES", "study"]

STUDIES: Mapping[str, Study] = index_by_name(
    (
        Study(name="bridge map", extracts=True, work=bridge_map),
        Study(name="bridge match", extracts=True, work=bridge_match),
        Study(name="bridge stitch", extracts=True, work=stitch),
        Study(name="units match", extracts=False, work=units_match),
        Study(name="units filters", extracts=False, work=units_filters),
    )
)
