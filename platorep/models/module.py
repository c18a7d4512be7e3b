"""A network of one's own: a function that returns a torch module, and one that feeds it.

Nothing is known of it but what it is asked. Axes: n rows, d features.
"""

import inspect
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, IntegrityError, PlatorepError, listed
from platorep.files import storage_errors
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    Reading,
    globs,
    refuse_other_settings,
)
from platorep.models.checkpoints import read_weights
from platorep.models.inputs import Inputs, OwnInputs, another, shapes, stacked
from platorep.models.memory import Batching
from platorep.models.probing import BatchProbe, probe_batches
from platorep.models.sources import file_hash
from platorep.models.streamed import Streamed
from platorep.models.taps import BY_NAME, PooledTaps, named_taps
from platorep.own_code import code_files, import_own
from platorep.switches import default_switches, seeded

MODULE_SETTINGS = (
    *("pool", "layers", "dtype", "random_init", "seed"),
    *("inputs", "checkpoint", "arguments"),
)
"""What a module of one's own takes of `ModelSettings`."""
Found = TypeVar("Found")


class ModuleModel(Model):
    def __init__(self, spec: ModelSpec) -> None:
        refuse_other_settings(spec, *MODULE_SETTINGS)
        whose = f"model {spec.label!r}"
        if ":" not in spec.name:
            raise ConfigError(
                f"{whose}: `backend: module` is called after a function that returns the network, "
                f"`name: package.module:function`; found {spec.name!r}."
            )
        if spec.inputs is None:
            raise ConfigError(
                f"{whose}: `inputs` must name the function that makes a sample what the network "
                "reads: `inputs: package.module:function`."
            )
        if not globs(spec):
            raise ConfigError(
                f"{whose}: `layers` must name the modules to tap, such as "
                '`layers: ["blocks.*", norm]` or `layers: [output]`; found '
                f"{spec.layers if spec.layers == 'all' else list(spec.layers)!r}."
            )
        self.spec = spec
        self._whose = whose
        self._globs = globs(spec)

    def identity(self) -> dict[str, Any]:
        spec = self.spec
        assert spec.inputs is not None
        files = self._code(spec.name) | self._code(spec.inputs)
        found: dict[str, Any] = {
            "backend": "module",
            "kind": spec.kind,
            "factory": spec.name,
            "inputs": spec.inputs,
            "code": {name: file_hash(file) for name, file in files.items()},
            "arguments": {name: _content(value) for name, value in spec.arguments.items()},
            "tap": BY_NAME,
            "layers": list(self._globs),
            "pool": self._pool,
        }
        if spec.random_init:
            initialised_by = f"torch {torch.__version__}"
            found["random_init"] = {"seed": spec.seed, "initialised_by": initialised_by}
        elif spec.checkpoint is not None:
            found["weights"] = file_hash(self._checkpoint)
        return found

    @property
    def _pool(self) -> str:
        return self.spec.pool or "mean"

    def _code(self, path: str) -> dict[str, Path]:
        return code_files(path, self._whose)

    @property
    def _checkpoint(self) -> Path:
        file = Path(str(self.spec.checkpoint))
        if not file.is_file():
            raise AbsentError(f"{self._whose}: there is no weight file {file}.")
        return file

    def describe(self) -> Description:
        size = None
        try:
            if self.spec.checkpoint is not None and not self.spec.random_init:
                size = self._checkpoint.stat().st_size
            network = self._skeleton
            layers = named_taps(network, self._globs, self.spec.label)
        except PlatorepError as error:
            return Description(weight_bytes=size, download_bytes=0, unknown=(str(error),))
        return Description(
            layers=layers,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            weight_bytes=size,
            download_bytes=0,
            unknown=("widths: what a module gives is known once it has read a sample",),
        )

    def download(self) -> None:
        """There is nothing to fetch: what the function fetches is its own."""

    @cached_property
    def _skeleton(self) -> nn.Module:
        """The network without memory for its weights, where its function allows that."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of weights that are copied to nowhere
            try:
                with torch.device("meta"):
                    return self._made()
            except ConfigError:
                return self._made()

    @default_switches()
    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        network, left_over = self._with_weights()
        broken = [n for n, one in network.named_parameters() if not bool(one.isfinite().all())]
        if broken:
            raise IntegrityError(
                f"{self._whose}: parameters of {type(network).__name__} are not finite: "
                f"{listed(broken)}. Use weights from before its training broke."
            )
        network = network.eval().requires_grad_(False).to(device, dtype)
        label = self.spec.label
        names = named_taps(network, self._globs, label)
        taps = PooledTaps(network, names, self.spec.pools or (self._pool,), label)
        assert self.spec.inputs is not None
        feed = Feed(OwnInputs(self.spec.inputs, label), torch.device(device), dtype)
        return LoadedModule(taps, feed, left_over)

    @default_switches()
    def save_copy(self, folder: Path) -> ModelSpec:
        network, _ = self._with_weights()
        file = folder / "weights.pth"
        with storage_errors(file):
            torch.save(network.state_dict(), file)
        own = {"checkpoint": str(file), "random_init": False, "seed": 0}
        return self.spec.model_copy(update=own)

    def _with_weights(self) -> tuple[nn.Module, tuple[str, ...]]:
        """The network, and what is said of weights left over."""
        network = self._made()
        if self.spec.checkpoint is None or self.spec.random_init:
            return network, ()
        return network, self._filled(network)

    def _made(self) -> nn.Module:
        """The network as its function returns it.

        Raises:
            ConfigError: the function fails, returns something else, or knows no random weights.
        """
        spec, whose = self.spec, f"{self._whose}: {self.spec.name}"
        factory = self._factory
        own = inspect.signature(factory).parameters if spec.random_init else {}
        if spec.random_init and spec.checkpoint is None and "random_init" not in own:
            raise ConfigError(
                f"{whose} decides its weights itself. For random ones (`random_init`) give it a "
                "parameter `random_init` (and `seed`, if it needs one), or let it return an "
                "untrained network whose weights come from `checkpoint: FILE`."
            )
        asked = {"random_init": True, "seed": spec.seed}
        arguments = dict(spec.arguments) | {n: value for n, value in asked.items() if n in own}
        try:
            with seeded(spec.seed):
                network = factory(**arguments)
        except (PlatorepError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever the user's own lines do
            raise ConfigError(
                f"{whose} fails with the arguments {arguments}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(network, nn.Module):
            raise ConfigError(
                f"{whose} must return a torch.nn.Module; found one of type "
                f"{type(network).__name__}."
            )
        return network

    @property
    def _factory(self) -> Any:
        factory = import_own(self.spec.name, self._whose)
        if not callable(factory):
            raise ConfigError(
                f"{self._whose}: {self.spec.name} is no function but of type "
                f"{type(factory).__name__}."
            )
        return factory

    def _filled(self, network: nn.Module) -> tuple[str, ...]:
        """Put the checkpoint's weights into the network; says what of them is left over."""
        file = self._checkpoint
        try:
            found = network.load_state_dict(read_weights(file), strict=False)
        except RuntimeError as error:
            raise IntegrityError(
                f"{self._whose}: the weights {file} do not fit {type(network).__name__}: {error}"
            ) from error
        if found.missing_keys:
            raise IntegrityError(
                f"{self._whose}: the weights {file} lack {len(found.missing_keys)} of "
                f"{type(network).__name__}, which would be random: {listed(found.missing_keys)}. "
                f"They have {listed(found.unexpected_keys) or 'no others'} left over."
            )
        if not found.unexpected_keys:
            return ()
        return (f"weights that the network has no place for: {listed(found.unexpected_keys)}",)


@dataclass(frozen=True)
class Feed:
    """How samples become arguments of a forward pass."""

    inputs: OwnInputs
    device: torch.device
    dtype: torch.dtype


class LoadedModule(Streamed):
    def __init__(self, taps: PooledTaps, feed: Feed, left_over: tuple[str, ...]) -> None:
        super().__init__(feed.inputs, feed.device)
        self._taps, self._feed, self._left_over = taps, feed, left_over
        self._probe: BatchProbe | None = None
        self._alone: str = ""
        self.layers = taps.names

    @property
    def notes(self) -> tuple[str, ...]:
        if self._alone or self._probe is None:
            return self._left_over + ((self._alone,) if self._alone else ())
        return self._left_over + self._probe.notes("samples")

    @default_switches()
    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        if self._probe is None:
            row = reading.rows[0]
            self._ask(self._prepare((reading.samples.ids[row], reading.samples[row])))
        return super().features(reading)

    def pooled(self, batch: Sequence[Inputs]) -> list[Float[Tensor, "b _"]]:
        return self._given(batch, self._taps)

    def alike(self, prepared: Inputs) -> Hashable:
        return shapes(prepared)

    def _given(self, samples: Sequence[Inputs], read: Callable[..., Found]) -> Found:
        """What `read` makes of samples of equal shapes."""
        try:
            places, names = stacked(samples, self._feed.device, self._feed.dtype)
            return read(*places, **names)
        except (PlatorepError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever the user's own network does
            given = ", ".join("x".join(map(str, shape)) for _, shape in shapes(samples[0]))
            raise ConfigError(
                f"model {self._taps.label!r}: {type(self._taps.network).__name__} fails at "
                f"{len(samples)} of what `inputs` returns ({given}): {type(error).__name__}: "
                f"{error}"
            ) from error

    def _ask(self, sample: Inputs) -> None:
        """On a sample find out where the batch lies, and whether samples may share one."""
        one = self._given([sample], self._taps.shapes)
        try:
            two = self._given([sample, sample], self._taps.shapes)
        except ConfigError as error:
            self._taps.find_batch_axes(one, None)
            self._probe = BatchProbe(batching=Batching.ONE_BY_ONE)
            self._alone = f"samples were run alone, since two in a batch fail: {error}"
        else:
            self._taps.find_batch_axes(one, two)
            self._probe = probe_batches(
                self.pooled, sample, another(sample), None, self._feed.dtype
            )
        self.batching = self._probe.batching


def _content(value: Any) -> Any:
    """An argument, or the hash of the file that it names: files may change in their place."""
    file = isinstance(value, str) and Path(value).is_file()
    return {"file": file_hash(Path(value))} if file else value
