"""From a YAML file to an `ExperimentConfig`, or an error that names each problem and its line."""

import typing
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from platorep.config.experiment import ExperimentConfig
from platorep.errors import ConfigError, UnknownNameError, nearest
from platorep.parameters.section import Section


def config_path(name: str) -> Path:
    """The file of an experiment: a path, or the bare name of a shipped one.

    Raises:
        UnknownNameError: there is neither.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise ConfigError(f"no experiment file {name}: there is no such file. Check the path.")
    raise UnknownNameError("experiment (neither a file nor a shipped one)", name, shipped)


def shipped_configs() -> dict[str, Path]:
    """Name -> file of the experiments that come with the package."""
    folder = Path(str(resources.files("platorep"))) / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_config(path: Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read and check an experiment file.

    Args:
        path: The YAML file.
        overrides: `a.b=value` texts that replace values of the file (value: YAML).

    Raises:
        ConfigError: the YAML does not parse, or names a wrong key or value; names them all.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_duplicate_keys(path, root)
        raw = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}.")
    for override in overrides:
        _override(raw, override)
    try:
        return ExperimentConfig.model_validate(raw, context={"folder": path.absolute().parent})
    except ValidationError as error:
        problems = _problems(path, root, error)
        raise ConfigError(
            "\n  ".join([f"{path} is not a valid experiment ({len(problems)}):", *problems])
        ) from error


def _refuse_duplicate_keys(path: Path, node: yaml.Node | None) -> None:
    """YAML forbids a key twice in one mapping; PyYAML would keep the last without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigError(
                    f"{path}:{line}: the key {key.value!r} stands already in line "
                    f"{seen[key.value]}. Delete one of the two."
                )
            seen[key.value] = line
            _refuse_duplicate_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(path, item)


def _override(raw: dict[str, Any], override: str) -> None:
    """Put one `a.b=value` into the raw mapping; numbers in the path index lists."""
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: expected KEY.KEY=VALUE, such as dataset.limit=256.")
    try:
        value = yaml.safe_load(text)
        place: Any = raw
        for key in keys[:-1]:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if isinstance(place, list):
            place[int(keys[-1])] = value
        else:
            place[keys[-1]] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--set {override}: {path} does not lead to a value of the file ({error})."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML: {error}") from error


def _problems(path: Path, root: yaml.Node | None, error: ValidationError) -> list[str]:
    """Each wrong place once, as `file:line: key.path: what is wrong there`."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors():
        keys, siblings = _keys(problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            keys.append(str(problem["loc"][-1]))
            message = f"unknown key.{nearest(keys[-1], siblings)}"
            message += f" Known: {', '.join(sorted(siblings))}." if siblings else ""
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] != "value_error":
            message += f"; found {problem['input']!r}"
        where = f"{path.name}:{_line(root, keys)}: " + (f"{'.'.join(keys)}: " if keys else "")
        problems.setdefault(where, []).append(message)
    return [where + "; or ".join(messages) for where, messages in problems.items()]


def _keys(loc: Sequence[int | str]) -> tuple[list[str], set[str]]:
    """The file's keys in pydantic's location (it also names union branches), and the last's kin."""
    sections: set[type[Section]] = {ExperimentConfig}
    keys: list[str] = []
    for part in loc:
        fields = [s.model_fields[part] for s in sections if part in s.model_fields]
        if fields:
            sections = {s for field in fields for s in _sections_in(field.annotation)}
        if fields or isinstance(part, int):
            keys.append(str(part))
    return keys, {key for section in sections for key in section.model_fields}


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


def _sections_in(annotation: Any) -> set[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return {annotation}
    return {s for part in typing.get_args(annotation) for s in _sections_in(part)}
