"""Vision models through timm: every architecture that has `forward_intermediates`."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from timm.data import create_transform, resolve_data_config
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError, PlatorepError
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    Reading,
    kept_layers,
    refuse_other_settings,
)
from platorep.models.blocks import (
    Pool,
    PooledBlocks,
    choose_pool,
    has_class_token,
    intermediates,
    tap_points,
)
from platorep.models.cost import count_flops
from platorep.models.images import ImageStream
from platorep.models.memory import PooledRows
from platorep.models.networks import Network
from platorep.switches import default_switches

IMAGE_SETTINGS = ("pool", "layers", "dtype", "random_init", "seed", "transform")
"""What an image network takes of `ModelSettings`, wherever it comes from."""
FROM_ELSEWHERE = ("revision", "checkpoint", "arguments")
"""What only one takes that was not made here."""
GPU_IMAGES = 64
"""Images per batch to begin with: more do not run faster."""
THREADS_PER_IMAGE = 4
"""On a CPU one image keeps a few cores busy; more at once only take more memory."""


class VisionModel(Model):
    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        if spec.kind != "image":
            raise ConfigError(
                f"model {spec.label!r}: backend timm sees images; it is to read the view "
                f"{spec.view!r}, whose kind is {spec.kind}."
            )
        refuse_other_settings(spec, *IMAGE_SETTINGS, *FROM_ELSEWHERE)
        self.spec = spec
        self._network = Network(spec, offline=offline)

    def identity(self) -> dict[str, Any]:
        return {
            "backend": "timm",
            **self._network.identity(),
            "tap": "forward_intermediates, without a final norm",
            "layers": "all" if self.spec.layers == "all" else list(self._kept),
            "pool": self._pool,
            "transform": {key: _json(value) for key, value in self._data_config.items()},
        }

    def describe(self) -> Description:
        try:
            kept, names = self._kept, tap_points(self._network.skeleton)
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        unknown: tuple[str, ...] = ()
        try:
            weight_bytes, download_bytes = self._network.bytes()
        except PlatorepError as error:
            weight_bytes = download_bytes = None
            unknown = (str(error),)
        return Description(
            layers=tuple(names[i] for i in kept),
            widths=tuple(self._widths[i] for i in kept),
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
        left_over: tuple[str, ...] = ()
        if self.spec.random_init:
            network = self._network.random()
        else:
            network, left_over = self._network.pretrained()
        blocks = PooledBlocks(
            network.eval().to(device, dtype),
            self._data_config["input_size"],
            self._pool,
            self._kept,
        )
        return LoadedVisionModel(blocks, create_transform(**self._data_config), left_over)

    @cached_property
    def _outputs(self) -> list[Any]:
        """Layer outputs on the meta device: shapes without numbers."""
        image = torch.zeros(1, *self._data_config["input_size"])
        with torch.inference_mode():
            try:
                return intermediates(self._network.skeleton, image.to("meta"))
            except (RuntimeError, NotImplementedError):  # a network that looks at the numbers
                return intermediates(self._network.random().eval(), image)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        maps = (output[0] if isinstance(output, tuple) else output for output in self._outputs)
        return tuple(features.shape[1] for features in maps)

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        return kept_layers(self.spec, len(self._widths))

    @cached_property
    def _pool(self) -> Pool:
        class_token = has_class_token(self._network.skeleton, self._outputs)
        return choose_pool(self.spec.pool, self.spec.label, class_token=class_token)

    @cached_property
    def _data_config(self) -> dict[str, Any]:
        """The parameters of timm's evaluation transform for this network."""
        own = self.spec.transform.model_dump(exclude_none=True)
        size = own.pop("input_size", self._network.image_size)
        if size is not None:
            own["input_size"] = (3, size, size)
        config: dict[str, Any] = resolve_data_config(own, self._network.skeleton.pretrained_cfg)
        return config


class LoadedVisionModel(Loaded):
    def __init__(
        self,
        blocks: PooledBlocks,
        transform: Callable[[Any], Tensor],
        left_over: tuple[str, ...],
    ) -> None:
        self._blocks, self._transform, self._left_over = blocks, transform, left_over
        self._stream: ImageStream | None = None
        self.layers = blocks.names
        self.batching = blocks.probe.batching

    @property
    def notes(self) -> tuple[str, ...]:
        return self._left_over + self._blocks.probe.notes("images")

    @default_switches()
    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        rows = reading.rows
        on_cpu = self._blocks.device.type == "cpu"
        auto = max(1, torch.get_num_threads() // THREADS_PER_IMAGE) if on_cpu else GPU_IMAGES
        batches = self.remembered_batches(reading.batch, auto)
        stream = self._open_stream(reading)
        found = PooledRows(len(rows))
        waiting: dict[int, Tensor] = {}

        def step(start: int, stop: int) -> None:
            places = list(waiting)[start:stop]
            found.fill(places, self._blocks(torch.stack([waiting[i] for i in places])))
            reading.progress(stop - start)

        for place, image in enumerate(stream.images(rows)):
            waiting[place] = image.clone()  # a copy, to leave the shared memory to the workers
            if len(waiting) >= batches.budget or place == len(rows) - 1:
                batches.run([1] * len(waiting), step, "image")
                waiting.clear()
        return found.layers

    def _open_stream(self, reading: Reading) -> ImageStream:
        if self._stream is None or not self._stream.serves(reading.samples, reading.workers):
            self.close()
            self._stream = ImageStream(reading.samples, self._transform, reading.workers)
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _json(value: Any) -> Any:
    return [_json(part) for part in value] if isinstance(value, (tuple, list)) else value
