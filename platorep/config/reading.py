"""From a YAML file to a checked configuration, or an error that names each problem and its line."""

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ValidationError

from platorep.config.color import ColorConfig
from platorep.config.experiment import ExperimentConfig
from platorep.errors import (
    MOST_NAMES,
    ConfigError,
    UnknownNameError,
    listed,
    nearest,
    short,
    shown,
)
from platorep.files import expanded
from platorep.parameters.section import Section
from platorep.parameters.theory import PmiConfig

Shape = TypeVar("Shape", bound=Section)
Command = Literal["run", "theory pmi", "theory color"]
"""What a file is for; `run` stands for all commands that take an experiment."""
SHAPES: dict[Command, type[Section]] = {
    "run": ExperimentConfig,
    "theory pmi": PmiConfig,
    "theory color": ColorConfig,
}
SHIPPED: dict[str, Command] = {"theory-*": "theory pmi", "*-color": "theory color"}
"""Shipped files that are so called are for that command, all others are experiments."""
QUOTE = "'"
MAX_BYTES, MAX_DEPTH, MAX_VALUES = 2**22, 60, 30_000
"""Of a file: a few kilobytes of aliases can spell out more than any memory holds."""


def config_path(name: str, command: Command = "run") -> Path:
    """The file of an experiment (or one for `platorep theory`): a path, or a shipped one's name.

    Raises:
        UnknownNameError: there is neither.
        ConfigError: it is for another command, or the path leads nowhere.
    """
    path = expanded(name)
    if path.is_file():
        return path
    shipped = shipped_configs(command)
    if name in shipped:
        return shipped[name]
    if path.suffix in (".yaml", ".yml") or "/" in name:
        beside = sorted(other.name for other in path.parent.glob("*.y*ml"))
        raise ConfigError(
            f"no experiment file {name}: there is no such file.{nearest(path.name, beside)} "
            "Check the path."
        )
    for other in SHAPES:
        if name in shipped_configs(other):
            raise _wrong_command(name, command, other)
    raise UnknownNameError("experiment (neither a file nor a shipped one)", name, shipped)


def shipped_configs(command: Command = "run") -> dict[str, Path]:
    """Name -> file of the experiments (or of what is for `platorep theory`) that are shipped."""
    folder = Path(str(resources.files("platorep"))) / "configs"
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        of = [command for pattern, command in SHIPPED.items() if fnmatch(path.stem, pattern)]
        if (of or ["run"])[0] == command:
            found[path.stem] = path
    return found


def load_config(path: Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read and check an experiment file; `read_config` says how."""
    return read_config(path, ExperimentConfig, overrides)


def load_theory(path: Path, overrides: Iterable[str] = ()) -> PmiConfig:
    """Read and check a file for `platorep theory pmi`; `read_config` says how."""
    return read_config(path, PmiConfig, overrides)


def load_color(path: Path, overrides: Iterable[str] = ()) -> ColorConfig:
    """Read and check a file for `platorep theory color`; `read_config` says how."""
    return read_config(path, ColorConfig, overrides)


def read_config(path: Path, shape: type[Shape], overrides: Iterable[str] = ()) -> Shape:
    """Read a file and check that it has this shape.

    Args:
        path: The YAML file.
        overrides: `a.b=value` texts that replace values of the file (value: YAML).

    Raises:
        ConfigError: the YAML does not parse, or names a wrong key or value; names them all.
    """
    root, raw = _parse(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}.")
    for override in overrides:
        _override(raw, override)
    _refuse_other_shapes(path, raw, shape)
    try:
        return shape.model_validate(raw, context={"folder": path.absolute().parent})
    except ValidationError as error:
        problems = _problems(path, root, shape, error)
        unsaid = error.error_count() - MOST_NAMES
        more = [f"and {unsaid} more"] if unsaid > 0 else []
        head = f"{path} is not a valid experiment ({len(problems) + max(unsaid, 0)}):"
        raise ConfigError("\n  ".join([head, *problems, *more])) from error


def _refuse_other_shapes(path: Path, raw: dict[str, Any], shape: type[Section]) -> None:
    """Say so when more of the file's keys are those of another command."""
    known = {command: len(raw.keys() & of.model_fields) for command, of in SHAPES.items()}
    asked = next((command for command, of in SHAPES.items() if of is shape), None)
    best = max(known, key=known.__getitem__)
    if asked is not None and known[best] > known[asked]:
        raise _wrong_command(str(path), asked, best)


def _wrong_command(name: str, asked: Command, found: Command) -> ConfigError:
    commands = {"run": "platorep run|plan|extract|measure|align|plot"}
    kinds = {"run": "an experiment"}
    kind = kinds.get(found, f"for `platorep {found}`, no experiment")
    if asked != "run":
        kind = kinds.get(found, f"for `platorep {found}`") + f", not for `platorep {asked}`"
    return ConfigError(
        f"{name} is {kind}. Run `{commands.get(found, f'platorep {found}')} {name}`."
    )


def _parse(path: Path) -> tuple[yaml.Node | None, Any]:
    """The nodes of a file, which know their lines, and the values that they spell."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path} has {size} bytes, at most {MAX_BYTES} are read as YAML.")
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=_Loader)
        num_values = _num_values(root, {})
        if num_values > MAX_VALUES:
            raise ConfigError(
                f"{path}: its aliases (`*name`) spell out {num_values} values, at most "
                f"{MAX_VALUES} are read."
            )
        _refuse_duplicate_keys(path, root)
        return root, yaml.load(text, Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, yaml.YAMLError) as error:  # a date that is none; an alias within itself
        raise ConfigError(f"{path}: not valid YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """Reads keys as they are written: `null:` is the key null, not the absence of one."""

    depth = num_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth, self.num_nodes = self.depth + 1, self.num_nodes + 1
        if self.depth > MAX_DEPTH or self.num_nodes > MAX_VALUES:
            line = self.line + 1
            many = f"{MAX_DEPTH} levels" if self.depth > MAX_DEPTH else f"{MAX_VALUES} values"
            raise yaml.YAMLError(f"line {line}: more than {many}")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"


def _num_values(node: Any, known: dict[int, int]) -> int:
    """How many values a node spells out, each alias as often as it stands there.

    Raises:
        YAMLError: a node holds itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
        known[id(node)] = 1 + sum(_num_values(child, known) for pair in pairs for child in pair)
    elif known[id(node)] == 0:
        line = node.start_mark.line + 1
        raise yaml.YAMLError(f"line {line}: an alias stands within what it stands for")
    return known[id(node)]


def _refuse_duplicate_keys(path: Path, node: yaml.Node | None) -> None:
    """YAML forbids a key twice in one mapping; PyYAML would keep the last without a word."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the loader refuses it
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(
                    f"{path}:{line}: the key {shown(key.value)} stands already in line "
                    f"{lines[key.value]}. Delete one of the two."
                )
            lines[key.value] = line
            _refuse_duplicate_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(path, item)


def _override(raw: dict[str, Any], override: str) -> None:
    """Put one `a.b=value` into the raw mapping; numbers in the path index lists."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    name = f"--set {short(override)}"
    if not equals or not all(keys) or len(keys) > MAX_DEPTH:
        raise ConfigError(f"{name}: expected KEY.KEY=VALUE, such as dataset.limit=256.")
    try:
        if _num_values(yaml.compose(text, Loader=_Loader), {}) > MAX_VALUES:
            raise ConfigError(f"{name}: spells out more than {MAX_VALUES} values.")
        value = yaml.load(text, Loader=_Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{name}: the value is not valid YAML: {error}") from error
    try:
        parent: Any = raw
        for key in keys[:-1]:
            parent = parent[int(key)] if isinstance(parent, list) else parent.setdefault(key, {})
        if isinstance(parent, list):
            parent[int(keys[-1])] = value
        else:
            parent[keys[-1]] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{name}: {short(path)} does not lead to a value of the file ({error})."
        ) from error


def _problems(
    path: Path, root: yaml.Node | None, shape: type[Section], error: ValidationError
) -> list[str]:
    """Each of the first wrong places once, as `file:line: key.path: what is wrong there`."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors()[:MOST_NAMES]:
        unknown = problem["type"] == "extra_forbidden"
        keys, siblings = _keys(shape, problem["loc"][:-1] if unknown else problem["loc"])
        message = re.sub(" or instance of .*", "", problem["msg"].removeprefix("Value error, "))
        if unknown:
            keys.append(str(problem["loc"][-1]))
            message = f"unknown key.{nearest(keys[-1], siblings)}"
            message += f" Known: {listed(sorted(siblings))}." if siblings else ""
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] == "union_tag_not_found":
            message = f"{problem['ctx']['discriminator'].strip(QUOTE)} is missing"
        elif problem["type"] == "union_tag_invalid":
            tag, tags = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
            tags = [name.strip(QUOTE) for name in tags.split(", ")]
            which = problem["ctx"]["discriminator"].strip(QUOTE)
            message = f"{which} {shown(tag)} is unknown.{nearest(tag, tags)}"
            message += f" There are: {', '.join(tags)}"
        elif problem["type"] != "value_error":
            message += f"; found {shown(problem['input'])}"
        where = f"{path.name}:{_line(root, keys)}: " + (
            f"{short('.'.join(keys))}: " if keys else ""
        )
        problems.setdefault(where, []).append(message)
    return [where + "; or ".join(messages) for where, messages in problems.items()]


def _keys(shape: type[Section], loc: Sequence[int | str]) -> tuple[list[str], set[str]]:
    """The file's keys in pydantic's location (it also names union branches), and the last's kin."""
    sections: set[type[Section]] = {shape}
    keys: list[str] = []
    is_name = False  # in a mapping of names to sections
    for part in loc:
        fields = [s.model_fields[part] for s in sections if part in s.model_fields and not is_name]
        if fields or is_name or isinstance(part, int):
            keys.append(str(part))
        if fields:
            sections = {s for field in fields for s in sections_in(field.annotation)}
        elif not is_name:
            sections = {s for s in sections if _is_branch(s, part)} or sections
        is_name = any(typing.get_origin(f.annotation) is Mapping for f in fields) and bool(sections)
    return keys, {key for section in sections for key in section.model_fields}


def _is_branch(section: type[Section], part: int | str) -> bool:
    """Whether pydantic calls a section of a union so: by its name, or by what its tag says."""
    tags = [f.annotation for f in section.model_fields.values()]
    return part == section.__name__ or any(
        typing.get_origin(tag) is Literal and part in typing.get_args(tag) for tag in tags
    )


def _line(root: yaml.Node | None, keys: Sequence[str]) -> int:
    """Where the file says `keys`, or says the nearest thing above them."""
    node, line = root, 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == key]
            line = found[0][0].start_mark.line + 1 if found else line
            node = found[0][1] if found else None
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
    return line


def sections_in(annotation: Any) -> set[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return {annotation}
    return {s for part in typing.get_args(annotation) for s in sections_in(part)}
