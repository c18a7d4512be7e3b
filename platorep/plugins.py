"""What installed packages add under names of their own, by entry points (docs/extending.md).

    [project.entry-points."platorep.metrics"]
    mine = "package.module:object"

makes the metric `mine`, as `package.module:object` would say it; likewise figures, backends, kinds.
Light: which names there are is read from the packages' metadata, and nothing of a package is
imported before one of its names is asked for. A built-in name always means what is built in.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from platorep.errors import ConfigError, PlatorepError, UnknownNameError
from platorep.own_code import code_hashes, import_own

Group = Literal["metrics", "figures", "backends", "kinds"]
CALLED: Mapping[Group, str] = MappingProxyType(
    {"metrics": "metric", "figures": "figure", "backends": "backend", "kinds": "kind of view"}
)
"""What a message calls one of them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin:
    """One entry of an installed package."""

    group: Group
    name: str
    path: str
    """`package.module:object`."""
    package: str
    """Name and version of the distribution."""

    @property
    def whose(self) -> str:
        return f"{CALLED[self.group]} {self.name!r} of the package {self.package}"

    def load(self) -> Any:
        """The object itself.

        Raises:
            ConfigError: it cannot be imported.
        """
        try:
            return import_own(self.path, self.whose)
        except ConfigError as error:
            raise ConfigError(f"{error} Update the package, or uninstall it.") from error

    def load_as(self, expected: type[T]) -> T:
        """As `load`, of this type.

        Raises:
            ConfigError: also where it is of another one.
        """
        found = self.load()
        if not isinstance(found, expected):
            raise ConfigError(
                f"{self.whose}: {self.path} is of type {type(found).__name__}, expected a "
                f"{expected.__module__}.{expected.__qualname__}. Update the package, or uninstall "
                "it."
            )
        return found

    def identity(self) -> list[str]:
        """What tells the object from that of another version: its package, and the code's hashes.

        Raises:
            ConfigError: there is no such module.
        """
        return [self.package, *code_hashes(self.path, self.whose)]


def find_plugin(group: Group, name: str) -> Plugin | None:
    """The entry so called, if an installed package has one; `name` is none that is built in.

    Raises:
        ConfigError: several packages have one.
    """
    found = [plugin for plugin in _installed(group, tuple(sys.path)) if plugin.name == name]
    if len(found) > 1:
        packages = " and ".join(plugin.package for plugin in found)
        raise ConfigError(
            f"{CALLED[group]} {name!r}: both {packages} have one. Uninstall one of the packages"
            + (", or say `package.module:object`." if group == "metrics" else ".")
        )
    return found[0] if found else None


def require_plugin(group: Group, name: str, built_in: Collection[str]) -> Plugin:
    """As `find_plugin`, or an `UnknownNameError` that knows all names, built in or not."""
    found = find_plugin(group, name)
    if found is None:
        raise UnknownNameError(CALLED[group], name, {*built_in, *plugin_names(group)})
    return found


def name_check(group: Group, built_in: Collection[str]) -> Callable[[str], str]:
    """For pydantic: a name that is built in or an installed package's, as it is.

    Raises (when called):
        ValueError: it is neither.
    """

    def check(name: str) -> str:
        if name not in built_in:
            try:
                require_plugin(group, name, built_in)
            except PlatorepError as error:
                raise ValueError(str(error)) from error
        return name

    return check


def plugin_names(group: Group) -> list[str]:
    """Every name that an installed package has in the group, those that are built in too."""
    return sorted({plugin.name for plugin in _installed(group, tuple(sys.path))})


def listed_plugin(group: Group, name: str, built_in: Collection[str]) -> Plugin:
    """As `require_plugin`, for a table of all there is.

    Raises:
        ConfigError: also where the name is built in.
    """
    plugin = require_plugin(group, name, built_in)
    if name in built_in:
        raise ConfigError(
            f"{plugin.whose} is left out, since the name is platorep's own and means that. The "
            "package must give it another one."
        )
    return plugin


@cache
def _installed(group: Group, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Read once, and again when Python's path has changed."""
    return tuple(
        Plugin(
            group,
            entry.name,
            entry.value.partition("[")[0].replace(" ", ""),
            "?" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}",
        )
        for entry in entry_points(group=f"platorep.{group}")
    )
