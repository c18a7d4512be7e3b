"""The base of every section of an experiment file."""

from collections.abc import Collection, Iterable

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen, and an unknown key is an error. The string under a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def idle_settings(section: Section, among: Iterable[str], taken: Collection[str]) -> list[str]:
    """The fields `among` those of `section` that are set, though whoever reads it takes others.

    Set is what differs from the default: to spell that out is no mistake.
    """
    fields = type(section).model_fields
    return [
        name
        for name in among
        if name not in taken
        and getattr(section, name) != fields[name].get_default(call_default_factory=True)
    ]
