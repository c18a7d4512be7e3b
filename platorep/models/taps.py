"""Outputs of modules by name: globs over `named_modules()`, hooks, one vector per sample.

A tapped output has one entry per sample along its first axis (or its second: what does not put the
batch first). Of a tuple, a list, a dictionary or an output of transformers the first tensor counts.
Axes: b samples of a batch, t tokens, d features or channels, f frames, h and w positions.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.errors import ConfigError, listed, nearest

BY_NAME = "outputs of modules"
"""How taps by name are called in a key."""
OUTPUT = "output"
"""Stands for what the network itself returns, where no module of it has that name."""
CHANNELS_SECOND = (
    *(nn.Conv1d, nn.ConvTranspose1d),
    *(nn.BatchNorm1d, nn.InstanceNorm1d, nn.GroupNorm),
)
"""Modules of PyTorch that have the features of three axes second, by definition: b d t."""
CHANNELS_FIRST, CHANNELS_LAST = ("NCL",), ("NHWC", "NTHWC")
"""What timm calls the layout of an output: of three axes the second holds the features, or of four
and five the last. Otherwise it is the other way round: b t d, b d h w and b d f h w."""

Shapes = Mapping[str, tuple[int, ...]]


def named_taps(network: nn.Module, globs: Sequence[str], label: str) -> tuple[str, ...]:
    """Names of the modules that match, glob by glob, each in the network's own order.

    `*` stands for any part of a name between two dots, `**` for any number of parts.

    Raises:
        ConfigError: a glob matches nothing.
    """
    names = [name for name, _ in network.named_modules() if name]
    if OUTPUT not in names:
        names.append(OUTPUT)
    found: dict[str, None] = {}
    for glob in globs:
        matched = [name for name in names if _matches(name.split("."), glob.split("."))]
        if not matched:
            top = [name for name in names if "." not in name]
            raise ConfigError(
                f"model {label!r}: no module of {type(network).__name__} is called {glob!r} "
                f"(`layers`).{nearest(glob, names)} Its outermost modules: {listed(top)}."
            )
        found |= dict.fromkeys(matched)
    return tuple(found)


def _matches(name: Sequence[str], glob: Sequence[str]) -> bool:
    if not glob:
        return not name
    if glob[0] == "**":
        return any(_matches(name[i:], glob[1:]) for i in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], glob[0]) and _matches(name[1:], glob[1:])


def module_of(network: nn.Module, tap: str) -> nn.Module:
    """The module that `named_taps` calls `tap`."""
    modules: dict[str, nn.Module] = dict(network.named_modules())
    return modules.get(tap, network)


def layout_of(network: nn.Module, tap: str) -> str:
    """What a module, or its network, says of the axes of its output; "" if nothing."""
    own = module_of(network, tap)
    if isinstance(own, CHANNELS_SECOND):
        return "NCL"
    layout = getattr(own, "output_fmt", None) or getattr(network, "output_fmt", None)
    return str(getattr(layout, "value", layout or ""))


def tapped(
    network: nn.Module,
    names: Sequence[str],
    forward: Callable[[], object],
    keep: Callable[[str, Tensor], None],
    label: str,
) -> None:
    """Run `forward` and hand `keep` the output of each module as it is produced.

    Raises:
        ConfigError: a module is not run, is run several times, or gives no tensor.
    """
    seen: dict[str, bool] = {}

    def hook(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if name in seen:
            raise ConfigError(
                f"model {label!r}: the module {name!r} runs several times in one forward pass, so "
                "its output is not one layer. Tap the modules around it (`layers`)."
            )
        tensor = first_tensor(output)
        seen[name] = tensor is not None
        if tensor is not None:
            keep(name, tensor)

    with ExitStack() as hooks, torch.inference_mode():
        for name in names:
            module = module_of(network, name)
            hooks.callback(module.register_forward_hook(partial(hook, name)).remove)
        forward()
    if idle := [name for name in names if not seen.get(name)]:
        what = "give no tensor" if idle[0] in seen else "are not run in a forward pass"
        raise ConfigError(
            f"model {label!r}: modules of {type(network).__name__} that `layers` names {what}: "
            f"{listed(idle)}. Name others."
        )


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that an output is, or the first one inside."""
    if isinstance(output, Tensor):
        return output
    parts = list(output.values()) if isinstance(output, Mapping) else output
    if not isinstance(parts, (tuple, list)):
        return None
    return next((one for part in parts if (one := first_tensor(part)) is not None), None)


class PooledTaps:
    """Runs a network and pools what each tapped module gives, for every pool in one pass.

    Of three axes (b t d) a pool takes the mean over tokens, the first token (cls), the last, or
    the mean of those behind the network's prefix tokens (patches_mean). Two axes are taken as they
    are, and four or five averaged over all positions (and frames), whatever the pool.
    """

    def __init__(
        self, network: nn.Module, names: Sequence[str], pools: Sequence[str], label: str
    ) -> None:
        self.network, self.names, self.label = network, tuple(names), label
        self._pools = tuple(pools)
        self._batch_axes: dict[str, int] = {}
        prefix = getattr(network, "num_prefix_tokens", None)
        self._num_prefix = prefix if isinstance(prefix, int) else None

    def __call__(self, *args: Any, **kwargs: Any) -> list[Float[Tensor, "b _"]]:
        """Pooled float32 outputs: all taps with the first pool, then all with the next."""
        found: dict[str, list[Tensor]] = {}

        def keep(name: str, output: Tensor) -> None:
            found[name] = self._pooled(name, output.movedim(self._batch_axes.get(name, 0), 0))

        self._run(keep, args, kwargs)
        return [found[name][i] for i in range(len(self._pools)) for name in self.names]

    def shapes(self, *args: Any, **kwargs: Any) -> Shapes:
        """The shape of each output, as it comes."""
        found: dict[str, tuple[int, ...]] = {}
        self._run(lambda name, output: found.update({name: tuple(output.shape)}), args, kwargs)
        return found

    def find_batch_axes(self, one: Shapes, two: Shapes | None) -> None:
        """Find out where the samples of a batch lie.

        Args:
            one: Shapes for one sample.
            two: For two; None where they cannot be had.

        Raises:
            ConfigError: an output has no entry per sample, or no axis of features.
        """
        wrong = []
        for name, single in one.items():
            double = single if two is None else two[name]
            number = 1 if two is None else 2
            axes = [i for i in (0, 1) if (*single[i : i + 1], *double[i : i + 1]) == (1, number)]
            if not axes or len(single) not in (2, 3, 4, 5) or len(single) != len(double):
                wrong.append(f"{name}: {' x '.join(map(str, double)) or 'a number'}")
            else:
                self._batch_axes[name] = axes[0]
        if wrong:
            raise ConfigError(
                f"model {self.label!r}: outputs of modules that `layers` names are no features of "
                f"samples; {'one sample' if two is None else 'two samples'} gave {listed(wrong)}. "
                "Expected b d, b t d, b d h w or b d f h w, with one entry per sample. Name other "
                "modules."
            )

    def _run(self, keep: Callable[[str, Tensor], None], args: Any, kwargs: Any) -> None:
        tapped(self.network, self.names, lambda: self.network(*args, **kwargs), keep, self.label)

    def _pooled(self, name: str, output: Tensor) -> list[Float[Tensor, "b _"]]:
        if output.is_complex():
            raise ConfigError(
                f"model {self.label!r}: the module {name!r} gives complex numbers, which are no "
                "features. Name another one, or one that gives their size."
            )
        layout = layout_of(self.network, name)
        if output.ndim == 3 and layout not in CHANNELS_FIRST:
            return [self._tokens(output, pool) for pool in self._pools]
        last = layout in CHANNELS_LAST and output.ndim > 3
        places = range(1, output.ndim - 1) if last else range(2, output.ndim)
        if output.ndim == 2:
            pooled = output.to(torch.float32, copy=True)
        else:
            pooled = output.mean(dim=tuple(places), dtype=torch.float32)
        return [pooled for _ in self._pools]

    def _tokens(self, output: Float[Tensor, "b t d"], pool: str) -> Float[Tensor, "b d"]:
        if pool in ("cls", "last"):  # a view would keep every token
            return output[:, 0 if pool == "cls" else -1].to(torch.float32, copy=True)
        if pool == "patches_mean":
            if self._num_prefix is None:
                raise ConfigError(
                    f"model {self.label!r}: `pool: patches_mean` leaves the tokens before the "
                    f"patches out, and {type(self.network).__name__} does not say how many there "
                    "are. Set `num_prefix_tokens` on the network, as timm does, or use `pool: mean`"
                    " over all tokens."
                )
            output = output[:, self._num_prefix :]
            if output.shape[1] == 0:
                raise ConfigError(
                    f"model {self.label!r}: of {self._num_prefix} tokens before the patches, a "
                    "module that `layers` names gives no more, so there is no mean over patches. "
                    "Use `pool: cls`, or name other modules."
                )
        return output.mean(dim=1, dtype=torch.float32)
