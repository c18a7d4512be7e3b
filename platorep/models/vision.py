"""Vision models through timm: every architecture that has `forward_intermediates`."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from timm.data import create_transform, resolve_data_config
from timm.models import save_for_hf
from torch import Tensor, nn

from platorep.config import ModelSpec
from platorep.errors import ConfigError, PlatorepError
from platorep.files import storage_errors
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    globs,
    kept_layers,
    refuse_other_settings,
)
from platorep.models.blocks import (
    Pool,
    PooledBlocks,
    choose_pool,
    has_class_token,
    intermediates,
    possible_pools,
    probe_images,
    tap_points,
)
from platorep.models.cost import count_flops
from platorep.models.inside import OpenNetwork, check_names
from platorep.models.networks import Network
from platorep.models.probing import probe_batches
from platorep.models.streamed import Streamed
from platorep.models.taps import BY_NAME, PooledTaps, named_taps
from platorep.parameters.views import KindName
from platorep.switches import default_switches

IMAGE_SETTINGS = ("pool", "layers", "dtype", "random_init", "seed", "transform")
"""What an image network takes of `ModelSettings`, wherever it comes from."""
FROM_ELSEWHERE = ("revision", "checkpoint", "arguments")
"""What only one takes that was not made here."""


class VisionModel(Model):
    kind: ClassVar[KindName] = "image"
    """Of the views that it reads."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        if spec.kind != self.kind:
            raise ConfigError(
                f"model {spec.label!r}: backend {spec.backend} reads views of kind {self.kind} "
                f"here; it is to read {spec.view!r}, whose kind is {spec.kind}."
            )
        refuse_other_settings(spec, *IMAGE_SETTINGS, *FROM_ELSEWHERE)
        self.spec = spec
        self._network = Network(spec, offline=offline)

    def identity(self) -> dict[str, Any]:
        return {
            "backend": "timm",
            **self._network.identity(),
            "tap": self._tap,
            "layers": self.spec.layers if self.spec.layers == "all" else list(self._asked),
            "pool": self._pool,
            "transform": {key: _json(value) for key, value in self._data_config.items()},
        }

    def describe(self) -> Description:
        try:
            names, widths = self._names, self._widths
            pools = possible_pools(self._chosen(None))
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        unknown: tuple[str, ...] = ()
        try:
            weight_bytes, download_bytes = self._network.bytes()
        except PlatorepError as error:
            weight_bytes = download_bytes = None
            unknown = (str(error),)
        return Description(
            layers=names,
            widths=widths,
            tap=self._tap,
            pools=pools,
            parameters=sum(p.numel() for p in self._network.skeleton.parameters()),
            weight_bytes=weight_bytes,
            download_bytes=download_bytes,
            unknown=unknown,
        )

    def flops(self) -> int | None:
        image = torch.zeros(1, *self._data_config["input_size"], device="meta")
        return count_flops(lambda: self._network.skeleton(image))

    def download(self) -> None:
        self._network.download()

    @default_switches()
    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        network, left_over = self._with_weights()
        network = network.eval().to(device, dtype)
        size = self._data_config["input_size"]
        pools = [self._chosen(pool) for pool in self.spec.pools] or [self._pool]
        blocks: PooledBlocks | NamedBlocks
        if self._globs:
            blocks = NamedBlocks(network, size, self._taps(network, pools))
        else:
            blocks = PooledBlocks(network, size, pools, self._kept)
        return LoadedVisionModel(blocks, self._transform(), left_over)

    @default_switches()
    def open(self, device: torch.device | str, dtype: torch.dtype) -> OpenNetwork:
        """The network with its weights, for work inside it: at its kept layers.

        Raises:
            AbsentError, IntegrityError: as `load`.
            ConfigError: its layers are no outputs of modules.
        """
        network, _ = self._with_weights()
        network = network.eval().requires_grad_(False).to(device, dtype)
        size = tuple(self._data_config["input_size"])
        if not self._globs:
            check_names(network, self._names, size, self.spec.label)
        return OpenNetwork(network, self._names, self._transform(), size, self.spec.label)

    def _transform(self) -> Callable[[Any], Tensor]:
        """What makes an input of a sample."""
        transform: Callable[[Any], Tensor] = create_transform(**self._data_config)
        return transform

    @default_switches()
    def save_copy(self, folder: Path) -> ModelSpec:
        network, _ = self._with_weights()
        with storage_errors(folder):
            save_for_hf(network, str(folder), safe_serialization=True)
        own: dict[str, Any] = {"name": f"local-dir:{folder}", "revision": None, "checkpoint": None}
        own |= {"backend": "timm", "random_init": False, "seed": 0}
        return self.spec.model_copy(update=own)

    def _with_weights(self) -> tuple[Any, tuple[str, ...]]:
        """The network, and what timm says of weights left over."""
        if self.spec.random_init:
            return self._network.random(), ()
        return self._network.pretrained()

    @cached_property
    def _outputs(self) -> list[Any]:
        """Layer outputs on the meta device: shapes without numbers."""
        image = torch.zeros(1, *self._data_config["input_size"])
        with torch.inference_mode():
            try:
                return intermediates(self._network.skeleton, image.to("meta"))
            except (RuntimeError, NotImplementedError):  # a network that looks at the numbers
                return intermediates(self._network.random().eval(), image)

    @property
    def _globs(self) -> tuple[str, ...]:
        return globs(self.spec)

    @property
    def _asked(self) -> tuple[int, ...] | tuple[str, ...]:
        return self._globs or self._kept

    def _taps(self, network: nn.Module, pools: Sequence[str]) -> PooledTaps:
        """The modules that globs name. A mean leaves the tokens before the patches out, as ever."""
        names = named_taps(network, self._globs, self.spec.label)
        known = getattr(network, "num_prefix_tokens", None) is not None
        patches = {"mean": "patches_mean"} if known else {}
        return PooledTaps(network, names, [patches.get(p, p) for p in pools], self.spec.label)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        network = self._network.skeleton
        if self._globs:
            return named_taps(network, self._globs, self.spec.label)
        taps = tap_points(network)
        return tuple(taps[i] for i in self._kept)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        """Of the kept layers."""
        if self._globs:
            image = torch.zeros(1, *self._data_config["input_size"])
            try:
                taps = self._taps(self._network.skeleton, [self._pool])
                return tuple(layer.shape[1] for layer in taps(image.to("meta")))
            except (RuntimeError, NotImplementedError):  # a network that looks at the numbers
                taps = self._taps(self._network.random().eval(), [self._pool])
                return tuple(layer.shape[1] for layer in taps(image))
        maps = (output[0] if isinstance(output, tuple) else output for output in self._outputs)
        widths = [features.shape[1] for features in maps]
        return tuple(widths[i] for i in self._kept)

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        return kept_layers(self.spec, len(self._outputs))

    @property
    def _tap(self) -> str:
        return BY_NAME if self._globs else "forward_intermediates, without a final norm"

    @cached_property
    def _pool(self) -> Pool:
        return self._chosen(self.spec.pool)

    def _chosen(self, pool: str | None) -> Pool:
        network = self._network.skeleton
        if hasattr(network, "forward_intermediates"):
            class_token = has_class_token(network, self._outputs)
        else:
            class_token = getattr(network, "cls_token", None) is not None
        return choose_pool(pool, self.spec.label, class_token=class_token)

    @cached_property
    def _data_config(self) -> dict[str, Any]:
        """The parameters of timm's evaluation transform for this network."""
        own = self.spec.transform.model_dump(exclude_none=True)
        size = own.pop("input_size", self._network.image_size)
        if size is not None:
            own["input_size"] = (3, size, size)
        config: dict[str, Any] = resolve_data_config(own, self._network.skeleton.pretrained_cfg)
        return config


class NamedBlocks:
    """Modules of a timm network by name, as `PooledBlocks` has the tap points that timm names."""

    def __init__(self, network: nn.Module, input_size: Sequence[int], taps: PooledTaps) -> None:
        self._taps, self.names = taps, taps.names
        parameter = next(network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        one, other = probe_images(input_size, self.device, self.dtype)
        taps.find_batch_axes(taps.shapes(one[None]), taps.shapes(torch.stack([one, one])))
        self.probe = probe_batches(
            lambda images: self(torch.stack(list(images))), one, other, None, self.dtype
        )

    def __call__(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _"]]:
        """Pooled float32 outputs: all modules with the first pool, then all with the next."""
        return self._taps(images.to(self.device, self.dtype))


class LoadedVisionModel(Streamed):
    unit = "image"

    def __init__(
        self,
        blocks: PooledBlocks | NamedBlocks,
        transform: Callable[[Any], Tensor],
        left_over: tuple[str, ...],
    ) -> None:
        super().__init__(transform, blocks.device)
        self._blocks, self._left_over = blocks, left_over
        self.layers = blocks.names
        self.batching = blocks.probe.batching

    @property
    def notes(self) -> tuple[str, ...]:
        return self._left_over + self._blocks.probe.notes("images")

    def pooled(self, batch: Sequence[Tensor]) -> list[Float[Tensor, "b _"]]:
        return self._blocks(torch.stack(list(batch)))


def _json(value: Any) -> Any:
    return [_json(part) for part in value] if isinstance(value, (tuple, list)) else value
