"""Layer outputs of a timm network, pooled one layer at a time.

The tap points are those of timm's `forward_intermediates`: the residual stream after every block
of a transformer (before any final norm), the feature map after every stage of a convolutional
network. Axes: b images of a batch, t tokens, d features or channels, h and w positions.
"""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.errors import ConfigError
from platorep.models.memory import by_pool
from platorep.models.probing import BatchProbe, probe_batches

Pool = Literal["mean", "cls"]


class PooledBlocks:
    """Runs a network and pools each tap point as it is produced.

    Hooks on the modules that timm names see one output at a time. Where these are not what
    `forward_intermediates` returns, all outputs of a batch are held and pooled afterwards.
    """

    def __init__(
        self,
        network: nn.Module,
        input_size: Sequence[int],
        pools: Sequence[Pool],
        layers: Sequence[int],
    ) -> None:
        self._network, self._pools, self._layers = network, pools, list(layers)
        self._num_prefix = 0  # class, register and distillation tokens before the patches
        self._kept: dict[int, Tensor] = {}
        taps = tap_points(network)
        self.names = tuple(taps[i] for i in self._layers)
        modules = dict(network.named_modules())
        self._modules = [modules.get(name) for name in self.names]
        parameter = next(network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        one, other = probe_images(input_size, self.device, self.dtype)
        self.hooked = None not in self._modules and self._check(one)
        self.probe: BatchProbe = probe_batches(
            lambda images: self(torch.stack(list(images))), one, other, None, self.dtype
        )

    def __call__(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _"]]:
        """Pooled float32 outputs: all kept layers with the first pool, then all with the next."""
        images = images.to(self.device, self.dtype)
        if self.hooked:
            pooled = self._by_hooks(images, [max(self._layers)])
        else:
            pooled = self._pool_outputs(self._intermediates(images, self._layers))
        return by_pool(pooled, len(self._pools))

    def _by_hooks(self, images: Tensor, indices: list[int]) -> list[Tensor]:
        self._kept = {}
        hooks = [
            module.register_forward_hook(partial(self._keep, i))
            for i, module in zip(self._layers, self._modules, strict=True)
            if module is not None
        ]
        try:
            self._intermediates(images, indices)
        finally:
            for hook in hooks:
                hook.remove()
        return [self._kept.pop(i) for i in self._layers if i in self._kept]

    def _keep(self, layer: int, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4):
            self._kept[layer] = self._pool_output(output)

    def _pool_output(self, output: Tensor) -> Float[Tensor, "b _"]:
        """The vectors of each pool side by side."""
        if output.ndim == 4:  # b d h w
            return output.mean(dim=(2, 3), dtype=torch.float32).repeat(1, len(self._pools))
        of_pools = {
            "cls": lambda: output[:, 0].to(torch.float32),
            "mean": lambda: output[:, self._num_prefix :].mean(dim=1, dtype=torch.float32),
        }
        return torch.cat([of_pools[pool]() for pool in self._pools], dim=1)

    def _pool_outputs(self, outputs: list[Any]) -> list[Tensor]:
        """The pooled kept layers from what `forward_intermediates` returns."""
        pooled = []
        for output in outputs:
            places, prefix = output if isinstance(output, tuple) else (output, None)
            parts = []
            for pool in self._pools:
                assert pool == "mean" or prefix is not None
                mean = places.mean(dim=(2, 3), dtype=torch.float32)
                parts.append(mean if pool == "mean" else prefix[:, 0].to(torch.float32))
            pooled.append(torch.cat(parts, dim=1))
        return [pooled[sorted(self._layers).index(i)] for i in self._layers]

    def _intermediates(self, images: Tensor, indices: list[int]) -> list[Any]:
        with torch.inference_mode():
            return intermediates(self._network, images, indices)

    def _check(self, image: Float[Tensor, "c h w"]) -> bool:
        """Whether the hooks see what `forward_intermediates` returns."""
        noise = image[None]
        outputs = self._intermediates(noise, self._layers)
        if all(isinstance(output, tuple) for output in outputs):
            self._num_prefix = outputs[0][1].shape[1]
        expected = self._pool_outputs(outputs)
        seen = self._by_hooks(noise, self._layers)
        return len(seen) == len(expected) and all(
            found.shape == other.shape and torch.allclose(found, other, rtol=1e-4, atol=1e-5)
            for found, other in zip(seen, expected, strict=True)
        )


def probe_images(
    input_size: Sequence[int], device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "c h w"]]:
    """Two images of noise."""
    one, other = (
        torch.randn(*input_size, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    return one.to(device, dtype), other.to(device, dtype)


def intermediates(network: Any, images: Tensor, indices: Sequence[int] | None = None) -> list[Any]:
    """timm's layer outputs: `b d h w` maps, or pairs of a map and prefix tokens `b p d`."""
    extra = {}
    if "return_prefix_tokens" in inspect.signature(network.forward_intermediates).parameters:
        extra["return_prefix_tokens"] = True
    found: list[Any] = network.forward_intermediates(
        images,
        indices=None if indices is None else sorted(indices),
        norm=False,
        output_fmt="NCHW",
        intermediates_only=True,
        **extra,
    )
    return found


def tap_points(network: Any) -> list[str]:
    """Module names of all tap points, in order."""
    info = network.feature_info
    return [entry["module"] for entry in (info if isinstance(info, list) else info.info)]


def has_class_token(network: Any, outputs: Sequence[Any]) -> bool:
    """Whether the first prefix token of every layer output is a class token."""
    return getattr(network, "cls_token", None) is not None and all(
        isinstance(output, tuple) and output[1].shape[1] >= 1 for output in outputs
    )


def choose_pool(pool: str | None, name: str, *, class_token: bool) -> Pool:
    """The pooling asked for; when None the class token if there is one, else the mean.

    Raises:
        ConfigError: this network cannot be pooled so.
    """
    if pool is None:
        return "cls" if class_token else "mean"
    if pool in ("mean", "patches_mean"):  # the mean leaves the tokens before the patches out
        return "mean"
    if pool == "cls" and class_token:
        return "cls"
    reason = "has no class token" if pool == "cls" else "is no language model"
    raise ConfigError(f"model {name!r} {reason}: `pool: {pool}` is not possible. Use `pool: mean`.")


def possible_pools(chosen: Pool) -> tuple[str, ...]:
    """Of a network for which this is chosen where nothing is said: that, then the others."""
    return ("cls", "mean") if chosen == "cls" else ("mean",)
