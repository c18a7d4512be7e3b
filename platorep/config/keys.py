"""Every key that an experiment file may have: a table for people, a JSON schema for editors.

Both come from the sections themselves. What a file may also say in short stands here, because
validators write it out before pydantic sees it.
"""

import fnmatch
import json
from collections.abc import Iterator, Mapping
from typing import Any

from platorep.config.experiment import ExperimentConfig
from platorep.parameters.metrics import PARAMETERS, PRESETS

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_NOTHING: Schema = {"type": "null"}


def json_schema() -> Schema:
    """The JSON schema (draft 2020-12) of an experiment file, short forms included."""
    schema = ExperimentConfig.model_json_schema()
    known = schema["$defs"]
    known["MetricConfig"] = {"anyOf": [_metric(known), _own_metric(), _TEXT]}
    metrics = known["AlignConfig"]["properties"]["metrics"]
    _also(metrics, {"enum": list(PRESETS)})
    _also(known["FamilyConfig"]["properties"]["reads"], _TEXT)
    _also(known["FamilyConfig"]["properties"]["models"]["items"], _TEXT)
    (view,) = known["DatasetConfig"]["properties"]["views"]["patternProperties"].values()
    _also(view, _NOTHING)
    for side in known["PairConfig"]["properties"].values():
        _also(side, _TEXT)
    two = {"type": "array", "minItems": 2, "maxItems": 2}
    two["items"] = {"anyOf": [{"$ref": "#/$defs/SelectorConfig"}, _TEXT]}
    _also(known["AlignConfig"]["properties"]["pairs"]["items"], two)
    _also(known["AlignConfig"]["properties"]["preprocess"], {"const": "paper"})
    return schema


def _metric(known: dict[str, Schema]) -> Schema:
    """An entry of `align.metrics`: its parameters stand beside its name."""
    own = {key: known["MetricConfig"]["properties"][key] for key in ("layers",)}
    entries = []
    for name, parameters in PARAMETERS.items():
        inside = parameters.model_json_schema()
        known |= inside.pop("$defs", {})
        properties = {"name": {"const": name}, **own, **inside.get("properties", {})}
        entries.append(inside | {"properties": properties, "required": ["name"]})
    return {"oneOf": entries}


def _own_metric() -> Schema:
    """A metric of one's own may have any parameters."""
    name = {"type": "string", "pattern": ":", "description": "`package.module:metric`."}
    return {"type": "object", "properties": {"name": name}, "required": ["name"]}


def _also(schema: Schema, short: Schema) -> None:
    """Let a key be said in another way too; what stands beside its type stays."""
    kept = {key: schema.pop(key) for key in ("default", "description") if key in schema}
    whole = dict(schema)
    schema.clear()
    schema |= kept | {"anyOf": [*whole.pop("anyOf", []), *([whole] if whole else []), short]}


def keys(pattern: str = "*") -> list[dict[str, str]]:
    """`key`, `type`, `default`, `about` of every key that matches; `*` matches dots too.

    `[]` stands for each entry of a list, `NAME` for a name of one's own, `{kind: scaling}` for the
    entries of that kind.
    """
    schema = json_schema()
    rows = _Walk(schema["$defs"]).below("", schema)
    return [row for row in rows if fnmatch.fnmatchcase(row["key"], pattern)]


class _Walk:
    """From the keys of a section to those of the sections in it."""

    def __init__(self, known: Mapping[str, Schema]) -> None:
        self._known = known

    def below(self, prefix: str, section: Schema) -> Iterator[dict[str, str]]:
        for name, schema in section.get("properties", {}).items():
            key = f"{prefix}.{name}" if prefix else name
            default = json.dumps(schema["default"]) if "default" in schema else ""
            yield {
                "key": key,
                "type": self._type(schema),
                "default": "" if default == "null" or len(default) > 60 else default,
                "about": " ".join(self._about(schema, section).split()),
            }
            yield from self._inside(key, schema)

    def _inside(self, key: str, schema: Schema) -> Iterator[dict[str, str]]:
        """What stands below a key, whatever it is: a section, a list of them, one of several."""
        schema = self._resolved(schema)
        if "properties" in schema:
            yield from self.below(key + self._tag(schema), schema)
        elif "items" in schema:
            yield from self._inside(f"{key}[]", schema["items"])
        elif named := _named(schema):
            yield from self._inside(f"{key}.NAME", named)
        else:
            for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
                yield from self._inside(key, branch)

    def _about(self, schema: Schema, section: Schema) -> str:
        """What a key means: its own words, else those of what stands below it; of a key that tells
        which section this is, the words of the section."""
        inside = self._resolved(schema)
        (only,) = branches if len(branches := _sections(inside)) == 1 else (inside,)
        below = self._resolved(only).get("description")
        return str(
            schema.get("description")
            or below
            or ("const" in schema and section.get("description"))
            or ""
        )

    @staticmethod
    def _tag(section: Schema) -> str:
        """What marks a section as one of several of its list: the key that can only be one."""
        fixed = {name: of["const"] for name, of in section["properties"].items() if "const" in of}
        return "".join(f"{{{name}: {value}}}" for name, value in list(fixed.items())[:1])

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._known[schema["$ref"].rpartition("/")[2]]
        return schema

    def _type(self, schema: Schema) -> str:
        schema = self._resolved(schema)
        if branches := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
            return " or ".join(dict.fromkeys(self._type(branch) for branch in branches))
        if "const" in schema:
            return json.dumps(schema["const"])
        if "enum" in schema:
            return " | ".join(map(str, schema["enum"]))
        kind = schema.get("type", "anything")
        if kind == "array":
            inside = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
            return f"list of {self._type(inside)}"
        if kind == "object":
            return "section" if "properties" in schema else "mapping"
        return f"{kind}{_range(schema)}"


def _sections(schema: Schema) -> list[Schema]:
    """The branches of a choice, or the entries of a list, that are not nothing."""
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())] or [schema.get("items", {})]
    return [one for one in branches if one.get("type") != "null"]


def _named(schema: Schema) -> Schema | None:
    """What a mapping has under each name, where that is said."""
    every = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    return every[0] if isinstance(every[0], dict) else None


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _range(schema: Schema) -> str:
    bounds = (f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema)
    return "".join(f" {bound}" for bound in bounds)
