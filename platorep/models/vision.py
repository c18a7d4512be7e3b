"""Vision models through timm: every architecture that has `forward_intermediates`."""

import contextlib
import difflib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.data import create_transform, resolve_data_config
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import (
    AbsentError,
    ConfigError,
    IntegrityError,
    PlatorepError,
    UnknownNameError,
)
from platorep.models.base import Auto, Description, Loaded, Model, Rows, kept_layers
from platorep.models.blocks import (
    PooledBlocks,
    choose_pool,
    has_class_token,
    intermediates,
    tap_points,
)
from platorep.models.hub import Repository, open_repository
from platorep.models.images import ImageStream
from platorep.models.memory import Batches
from platorep.models.sources import file_hash

CPU_IMAGES, GPU_IMAGES = 4, 64
"""Images per batch to begin with: more do not run faster."""
HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


class VisionModel(Model):
    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        if spec.modality != "vision":
            raise ConfigError(
                f"model {spec.label!r}: backend timm sees images; found modality "
                f"{spec.modality!r}, expected vision."
            )
        self.spec = spec
        self._offline = offline
        self._kind, _, self._place = spec.name.partition(":")
        if self._kind not in ("hf-hub", "local-dir"):
            self._kind, self._place = "timm", spec.name
            check_name(spec.name)

    def identity(self) -> dict[str, Any]:
        layers = "all" if self.spec.layers == "all" else list(self._kept)
        cfg = self._skeleton.pretrained_cfg
        found: dict[str, Any] = {
            "backend": "timm",
            "architecture": cfg["architecture"],
            "arguments": dict(self.spec.arguments),
            **self._weights_identity(),
            "tap": "forward_intermediates, without a final norm",
            "layers": layers,
            "pool": self._pool,
            "transform": {key: _plain(value) for key, value in self._data_config.items()},
        }
        return found

    def describe(self) -> Description:
        try:
            kept = self._kept
            parameters = sum(p.numel() for p in self._skeleton.parameters())
            names = tap_points(self._skeleton)
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        unknown: tuple[str, ...] = ()
        try:
            size, missing = self._sizes()
        except PlatorepError as error:
            size, missing, unknown = None, None, (str(error),)
        return Description(
            layers=tuple(names[i] for i in kept),
            widths=tuple(self._widths[i] for i in kept),
            parameters=parameters,
            weight_bytes=4 * parameters if self.spec.random_init else size,
            download_bytes=missing,
            unknown=unknown,
        )

    def download(self) -> None:
        if not self.spec.random_init:
            self._weight_file()

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        if self.spec.random_init:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.spec.seed)
                network = self._create()
            lost: list[str] = []
        else:
            with _losses() as lost, _as_own_errors(self.spec):
                network = self._create(pretrained=True)
        missing = [line for line in lost if line.startswith("Missing")]
        if missing:
            raise IntegrityError(
                f"the weights of {self.spec.name!r} lack parameters of the network, which would be "
                f"random. {missing[0]} Use a checkpoint of this architecture, or `random_init: "
                "true` for a random control."
            )
        network = network.eval().to(device, dtype)
        blocks = PooledBlocks(network, self._data_config["input_size"], self._pool, self._kept)
        names = tap_points(network)
        return LoadedVisionModel(
            self.spec, blocks, self._transform, tuple(names[i] for i in self._kept), tuple(lost)
        )

    @cached_property
    def _repository(self) -> Repository | None:
        """The hub repository with the weights, if they come from one."""
        if self._kind == "hf-hub":
            name, _, revision = self._place.partition("@")
            return open_repository(
                name, self.spec.revision or revision or None, offline=self._offline
            )
        hub_id = self._skeleton.pretrained_cfg.get("hf_hub_id") if self._kind == "timm" else None
        if hub_id is None or self.spec.checkpoint is not None or self.spec.random_init:
            return None
        name, _, revision = hub_id.partition("@")
        return self._open(name, revision)

    def _open(self, name: str, revision: str) -> Repository:
        return open_repository(name, self.spec.revision or revision or None, offline=self._offline)

    @cached_property
    def _timm_name(self) -> str:
        """What `timm.create_model` calls it."""
        if self._kind == "timm":
            return self._place
        if self._kind == "local-dir":
            folder = Path(self._place)
            if not (folder / "config.json").is_file():
                raise AbsentError(
                    f"{folder} has no config.json. Expected a folder written by timm's "
                    "`save_for_hf`: config.json and weights."
                )
        else:
            assert self._repository is not None
            folder = self._repository.download(["config.json"])
        return f"local-dir:{folder}"

    def _create(self, *, pretrained: bool = False) -> Any:
        overlay = None
        if pretrained and (file := self._weight_file()) is not None and self._kind == "timm":
            # With a number of classes unlike ours timm leaves out the classifier's weights.
            classes = self._skeleton.pretrained_cfg.get("num_classes") or 1000
            overlay = {
                "file": str(file),
                "custom_load": file.suffix == ".npz",
                "num_classes": classes,
            }
        return timm.create_model(
            self._timm_name,
            pretrained=pretrained,
            pretrained_cfg_overlay=overlay,
            **{"num_classes": 0, **self._size_argument, **self.spec.arguments},
        )

    @property
    def _size_argument(self) -> dict[str, int]:
        size = self.spec.transform.input_size
        if size is None or not self._takes_img_size or "img_size" in self.spec.arguments:
            return {}
        return {"img_size": size}

    @cached_property
    def _takes_img_size(self) -> bool:
        with torch.device("meta"):
            network = timm.create_model(self._timm_name, num_classes=0, **self.spec.arguments)
        return bool(network.pretrained_cfg.get("fixed_input_size"))

    @cached_property
    def _skeleton(self) -> Any:
        """The network without memory for its weights."""
        with torch.device("meta"), _as_own_errors(self.spec):
            network = self._create().eval()
        if not hasattr(network, "forward_intermediates"):
            raise ConfigError(
                f"model {self.spec.name!r}: timm's {type(network).__name__} has no "
                "`forward_intermediates`, so its layers cannot be tapped. Choose another "
                "architecture (`platorep list models`)."
            )
        return network

    @cached_property
    def _outputs(self) -> list[Any]:
        """Layer outputs on the meta device: shapes without numbers."""
        image = torch.empty(1, *self._data_config["input_size"], device="meta")
        with torch.inference_mode():
            return intermediates(self._skeleton, image)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        maps = (output[0] if isinstance(output, tuple) else output for output in self._outputs)
        return tuple(features.shape[1] for features in maps)

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        return kept_layers(self.spec, len(self._widths))

    @cached_property
    def _pool(self) -> Any:
        class_token = has_class_token(self._skeleton, self._outputs)
        return choose_pool(self.spec.pool, self.spec.label, class_token=class_token)

    @cached_property
    def _data_config(self) -> dict[str, Any]:
        """The parameters of timm's evaluation transform for this network."""
        own = self.spec.transform.model_dump(exclude_none=True)
        size = own.pop("input_size", self.spec.arguments.get("img_size"))
        if size is not None:
            own["input_size"] = (3, size, size)
        config: dict[str, Any] = resolve_data_config(own, self._skeleton.pretrained_cfg)
        return config

    @property
    def _transform(self) -> Callable[[Any], Tensor]:
        transform: Callable[[Any], Tensor] = create_transform(**self._data_config)
        return transform

    def _weights_identity(self) -> dict[str, Any]:
        if self.spec.random_init:
            initialised_by = f"timm {timm.__version__}"
            return {"random_init": {"seed": self.spec.seed, "initialised_by": initialised_by}}
        if self._repository is not None:
            return {"name": self._repository.name, "revision": self._repository.commit}
        file = self._weight_file()
        if file is None:
            return {"url": self._skeleton.pretrained_cfg["url"]}
        return {"weights": file_hash(file)}

    def _weight_file(self) -> Path | None:
        """The local weight file, downloaded if need be; None: timm fetches it from its own URL."""
        if self.spec.checkpoint is not None:
            file = Path(self.spec.checkpoint)
            if not file.is_file():
                raise AbsentError(f"model {self.spec.label!r}: no weight file {file}.")
            return file
        if self._repository is not None:
            name = self._hub_weight_name(self._repository)
            return self._repository.download([name]) / name
        if self._kind == "local-dir":
            return _first_weights(Path(self._place))
        if self._skeleton.pretrained_cfg.get("url"):
            return None
        raise AbsentError(
            f"timm knows no pretrained weights for {self.spec.name!r}. Use a name with a tag "
            "(`architecture.tag`), `checkpoint: FILE`, or `random_init: true`."
        )

    def _hub_weight_name(self, repository: Repository) -> str:
        wanted = self._skeleton.pretrained_cfg.get("hf_hub_filename")
        names = HUB_WEIGHTS
        if wanted:
            names = (str(Path(wanted).with_suffix(".safetensors")), wanted)
        for name in names:
            if name in repository.sizes:
                return name
        raise AbsentError(
            f"hub repository {repository.name!r} has no weights in the local cache or on the hub: "
            f"expected one of {', '.join(names)}; found {', '.join(repository.sizes)}."
        )

    def _sizes(self) -> tuple[int | None, int | None]:
        """Bytes of the weight file, and bytes still to be downloaded."""
        if self.spec.random_init:
            return None, 0
        if self._repository is not None:
            name = self._hub_weight_name(self._repository)
            return self._repository.sizes[name], self._repository.missing_bytes([name])
        file = self._weight_file()
        return (None, None) if file is None else (file.stat().st_size, 0)


class LoadedVisionModel(Loaded):
    def __init__(
        self,
        spec: ModelSpec,
        blocks: PooledBlocks,
        transform: Callable[[Any], Tensor],
        layers: tuple[str, ...],
        lost: tuple[str, ...],
    ) -> None:
        self._blocks, self._transform, self._lost = blocks, transform, lost
        self.layers = layers
        self._stream: ImageStream | None = None
        self._batches: Batches | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        plain = "all layer outputs of a batch were held at once: timm's tap points are no modules"
        return self._lost + (() if self._blocks.hooked else (plain,))

    def features(
        self,
        rows: Sequence[int],
        dataset: Rows,
        *,
        batch: int | Auto = "auto",
        workers: int | Auto = "auto",
        progress: Callable[[int], None] = lambda finished: None,
    ) -> list[Float[Tensor, "n _"]]:
        if self._stream is None or self._stream.dataset is not dataset:
            self.close()
            self._stream = ImageStream(dataset, self._transform, workers)
        if self._batches is None:
            auto = GPU_IMAGES if self._blocks.device.type == "cuda" else CPU_IMAGES
            self._batches = Batches(auto if batch == "auto" else batch)
        found: list[list[Tensor]] = []
        waiting: list[Tensor] = []

        def step(start: int, stop: int) -> None:
            pooled = self._blocks(torch.stack(waiting[start:stop]))
            found.append([layer.cpu() for layer in pooled])
            progress(stop - start)

        def run() -> None:
            self._batches.run([1] * len(waiting), step, "image")
            waiting.clear()

        for image in self._stream.images(rows):
            waiting.append(image.clone())  # out of the shared memory
            if len(waiting) >= self._batches.budget:
                run()
        run()
        return [torch.cat(layer) for layer in zip(*found, strict=True)]

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def check_name(name: str) -> None:
    """Whether timm's registry, which needs no network, has this architecture and tag.

    Raises:
        UnknownNameError: it has not; suggests the nearest names.
    """
    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture) and (not tag or name in timm.list_models(pretrained=True)):
        return
    names = timm.list_models() + timm.list_models(pretrained=True)
    raise UnknownNameError("timm model", name, difflib.get_close_matches(name, names, 8, 0.3))


def _first_weights(folder: Path) -> Path:
    for pattern in (*HUB_WEIGHTS, "*.safetensors", "*.pth", "*.bin"):
        for file in sorted(folder.glob(pattern)):
            return file
    raise AbsentError(f"{folder} has no weight file (model.safetensors or another).")


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


@contextlib.contextmanager
def _losses() -> Iterator[list[str]]:
    """What timm logs while it loads of weights that are missing or left over.

    With another number of classes than the checkpoint's, timm loads what fits and only says so.
    """
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(("Missing keys", "Unexpected keys")):
                lines.append(record.getMessage())

    log = logging.getLogger("timm.models._builder")
    level, propagate, handler = log.level, log.propagate, Keep(logging.INFO)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


@contextlib.contextmanager
def _as_own_errors(spec: ModelSpec) -> Iterator[None]:
    """Refusals of timm that a user can act on."""
    try:
        yield
    except PlatorepError:
        raise
    except OSError as error:
        raise AbsentError(f"timm cannot get the weights of {spec.name!r}: {error}") from error
    except (TypeError, AssertionError) as error:
        raise ConfigError(
            f"timm cannot build {spec.name!r} with the arguments {dict(spec.arguments)}: {error}"
        ) from error
    except RuntimeError as error:
        raise IntegrityError(f"the weights of {spec.name!r} do not fit: {error}") from error
