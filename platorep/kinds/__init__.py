"""The kinds of views. To add one: a module with its `Kind`, its name in `parameters/views`, and an
entry below."""

from platorep.kinds.array import ARRAY
from platorep.kinds.audio import AUDIO
from platorep.kinds.image import IMAGE
from platorep.kinds.kind import Kind, Reference
from platorep.kinds.text import TEXT
from platorep.kinds.video import VIDEO
from platorep.registry import index_by_name

__all__ = ["KINDS", "Kind", "Reference"]

KINDS = index_by_name((IMAGE, TEXT, AUDIO, VIDEO, ARRAY))
