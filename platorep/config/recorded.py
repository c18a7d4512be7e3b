"""An experiment from the settings that its results hold, where the file itself is not at hand."""

import typing
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from platorep.config.align import MetricConfig
from platorep.config.experiment import ExperimentConfig
from platorep.config.reading import sections_in
from platorep.errors import ConfigError, PlatorepError
from platorep.parameters.section import Section


def recorded_config(settings: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment whose settings `run.json` holds (`config`).

    Raises:
        ConfigError: they are those of another version, or somebody changed them.
    """
    try:
        return ExperimentConfig.model_validate(_said(ExperimentConfig, settings))
    except (ValidationError, PlatorepError) as error:
        raise ConfigError(f"its settings are none that this version can read: {error}") from error


def _said(section: type[Section], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not at their defaults: a default that is spelt out may mean something,
    as for a model, where it stands in place of what its family says."""
    if section is MetricConfig:  # whose parameters stand beside its name
        parameters = {k: v for k, v in settings["parameters"].items() if k != "name"}
        return {k: v for k, v in settings.items() if k != "parameters"} | parameters
    said = {}
    for name, value in settings.items():
        field = section.model_fields.get(name)
        if field is None:
            said[name] = value
        elif (
            field.is_required()
            or _is_constant(field.annotation)
            or value != to_jsonable_python(field.get_default(call_default_factory=True))
        ):
            said[name] = _inside(field.annotation, value)
    return said


def _inside(annotation: Any, value: Any) -> Any:
    """A value as a file would say it: a section, a list of them, or a mapping of names to them."""
    if isinstance(value, list):
        return [_inside(annotation, entry) for entry in value]
    if not isinstance(value, dict):
        return value
    for section in sorted(sections_in(annotation), key=lambda one: one.__name__):
        if _may_be(section, value):
            return _said(section, value)
    return {name: _inside(annotation, entry) for name, entry in value.items()}


def _may_be(section: type[Section], value: Mapping[str, Any]) -> bool:
    fields = section.model_fields
    return bool(value) and all(
        name in fields
        and (
            not _is_constant(fields[name].annotation)
            or entry in typing.get_args(fields[name].annotation)
        )
        for name, entry in value.items()
    )


def _is_constant(annotation: Any) -> bool:
    """Whether it tells which of several sections this is."""
    return typing.get_origin(annotation) is Literal and len(typing.get_args(annotation)) == 1
