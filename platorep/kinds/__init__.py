"""The kinds of views. To add one: a module with its `Kind`, its name in `parameters/views`, and an
entry below."""

from platorep.errors import ConfigError
from platorep.kinds.array import ARRAY
from platorep.kinds.audio import AUDIO
from platorep.kinds.image import IMAGE
from platorep.kinds.kind import Kind, Reference
from platorep.kinds.text import TEXT
from platorep.kinds.video import VIDEO
from platorep.parameters.views import KindName
from platorep.plugins import require_plugin
from platorep.registry import index_by_name

__all__ = ["KINDS", "Kind", "Reference", "find_kind"]

KINDS = index_by_name((IMAGE, TEXT, AUDIO, VIDEO, ARRAY))


def find_kind(name: KindName) -> Kind:
    """The kind that is called so: built in, or an installed package's.

    Raises:
        UnknownNameError: there is none.
        ConfigError: the package's cannot be imported, or is none.
    """
    if name in KINDS:
        return KINDS[name]
    plugin = require_plugin("kinds", name, KINDS)
    kind = plugin.load_as(Kind)
    if kind.name != name:  # by which worker processes look it up
        raise ConfigError(f"{plugin.whose}: its `name` is {kind.name!r}. Update the package.")
    return kind
