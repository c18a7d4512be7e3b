"""An image network open for work inside it: its maps at every tap, and what follows from another.

Axes: b images of a batch, d features or channels, h and w positions, t tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.errors import ConfigError
from platorep.models.blocks import intermediates, probe_images, tap_points
from platorep.models.taps import CHANNELS_LAST, layout_of, module_of, tapped
from platorep.switches import default_switches


@dataclass(frozen=True)
class OpenNetwork:
    """A network in memory, in evaluation mode."""

    network: nn.Module
    names: tuple[str, ...]
    """Modules whose outputs are the layers, in order."""
    prepare: Callable[[Any], Tensor]
    """From a sample of the view to an input of the network, c h w."""
    input_size: tuple[int, ...]
    label: str

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    @default_switches()
    def outputs(self, images: Float[Tensor, "b c h w"], names: Sequence[str]) -> list[Tensor]:
        """What the modules give for a batch, as they give it; no gradient is kept."""
        found: dict[str, Tensor] = {}
        images = images.to(self.device, self.dtype)
        tapped(self.network, names, lambda: self.network(images), found.__setitem__, self.label)
        return [found[name] for name in names]

    def as_map(self, name: str, output: Tensor) -> Float[Tensor, "b d h w"]:
        """The output of a module over positions: tokens before the patches are left out.

        Raises:
            ConfigError: its positions are no square of patches.
        """
        if output.ndim == 4:
            last = layout_of(self.network, name) in CHANNELS_LAST
            return output.movedim(-1, 1) if last else output
        prefix = int(getattr(self.network, "num_prefix_tokens", 0) or 0)
        patches = output[:, prefix:].mT if output.ndim == 3 else output[..., None]
        side = round(patches.shape[-1] ** 0.5)
        if patches.ndim != 3 or side * side != patches.shape[-1]:
            raise ConfigError(
                f"model {self.label!r}: what {name!r} gives ({' x '.join(map(str, output.shape))}) "
                "has no positions in a square, so it is no map. Name other modules (`layers`)."
            )
        return patches.reshape(*patches.shape[:2], side, side)

    @default_switches()
    def resumed(self, name: str, output: Tensor) -> Float[Tensor, "b _"]:
        """What the network makes of a batch of `output`, as if the module `name` had given it.

        Gradients flow to `output`. What comes before the module runs on one blank image, so that
        a batch costs no more than what comes after it; a network in which something else passes by
        the module is refused by `can_resume`.
        """
        blank = torch.zeros(1, *self.input_size, device=self.device, dtype=self.dtype)
        module = module_of(self.network, name)
        hook = module.register_forward_hook(lambda *_: output)
        try:
            found: Tensor = self.network(blank)
        finally:
            hook.remove()
        return found

    @default_switches()
    def can_resume(self, name: str) -> bool:
        """Whether all that the network makes of an image goes through the module `name`."""
        images = torch.stack(probe_images(self.input_size, self.device, self.dtype))
        (output,) = self.outputs(images, [name])
        with torch.inference_mode():
            expected, found = self.network(images), self.resumed(name, output)
        return found.shape == expected.shape and torch.allclose(
            found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
        )


def check_names(network: Any, names: Sequence[str], input_size: Sequence[int], label: str) -> None:
    """Whether timm's layers are what the modules of these names give.

    Raises:
        ConfigError: they are something else, or there are no such modules.
    """
    taps = tap_points(network)
    parameter = next(network.parameters())
    image, _ = probe_images(input_size, parameter.device, parameter.dtype)
    found: dict[str, tuple[int, ...]] = {}
    if set(names) <= {name for name, _ in network.named_modules()}:
        tapped(
            network,
            names,
            lambda: network(image[None]),
            lambda name, output: found.update({name: tuple(output.shape)}),
            label,
        )
        with torch.inference_mode():
            layers = intermediates(network, image[None], [taps.index(name) for name in names])
        maps = [layer[0] if isinstance(layer, tuple) else layer for layer in layers]
        in_order = sorted(names, key=taps.index)
        if all(m.shape[1] in found[name][1:] for name, m in zip(in_order, maps, strict=True)):
            return
    raise ConfigError(
        f"model {label!r}: what timm gives as layers of {type(network).__name__} are no outputs of "
        'modules, so nobody can work inside it. Name modules instead (`layers: ["blocks.*"]`).'
    )
