"""Train a toy network once; find it as ordinary checkpoint folders ever after.

`<root>/<network>-<digest>/step000120` is a checkpoint, whole or absent, with `training.json` in it.
`state.safetensors` beside it is where a killed run goes on; it is removed at the end.
The digest names all that moves the weights: network, world, training and the version below.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from platorep.errors import ConfigError, DamagedError, nearest
from platorep.files import ByteLocks, digest, remove, slug, storage_errors
from platorep.parameters.toyworld import ToyNetwork, ToyTraining, WorldParameters
from platorep.tensors import read_metadata, read_tensors, write_tensors
from platorep.toyworld.checkpoints import atomic_folder, is_whole, seal_checkpoint
from platorep.toyworld.objectives import Objective, objective

VERSION = 1  # raise when the same parameters give other weights
WARMUP_STEPS = 10
STEPS_PER_STATE = 50

Progress = Callable[[int, int], None]


def network_folder(
    root: Path, network: ToyNetwork, world: WorldParameters, training: ToyTraining
) -> Path:
    """Where the checkpoints of one training run lie.

    What does not move the weights is no part of the name: which steps are kept, how pictures look
    to a language model, what captions tell to all others, how evaluation pairs are made.
    """
    without_effect: dict[str, set[str]] = {
        "vision": {"pairs", "shared", "caption_level"},
        "video": {"pairs", "shared", "caption_level"},
        "audio": {"pairs", "shared", "caption_level", "image_size"},
        "language": {"pairs", "shared", "nuisance", "image_size", "temperature", "tasks"},
    }
    sections = [
        section.model_dump(mode="json", exclude={"checkpoints"} | without_effect[network.modality])
        for section in (network, world, training)
    ]
    return root / f"{slug(network.name)}-{digest([VERSION, *sections])}"


def checkpoint_folder(
    root: Path, network: ToyNetwork, world: WorldParameters, training: ToyTraining, step: int
) -> Path:
    return network_folder(root, network, world, training) / f"step{step:06d}"


def kept_steps(training: ToyTraining) -> tuple[int, ...]:
    """The steps at which the network is kept, in order; the last is always among them."""
    return tuple(sorted({*training.checkpoints, training.steps}))


def train(
    root: Path,
    network: ToyNetwork,
    world: WorldParameters,
    training: ToyTraining,
    *,
    progress: Progress | None = None,
) -> dict[int, Path]:
    """The checkpoint folder of every kept step, trained first where one is missing.

    One thread, always: that is fastest for so small a network, and makes the weights independent
    of the number of cores. Killed at any moment, the same call goes on with the same result.
    Several processes may ask at once; one trains, the others wait.

    Args:
        progress: Called with (steps done, steps) after each.

    Raises:
        StorageError: a checkpoint cannot be written.
    """
    folders = {
        step: checkpoint_folder(root, network, world, training, step)
        for step in kept_steps(training)
    }
    if all(_stands(path) for path in folders.values()):
        return folders  # without a lock: a cache that is complete may be read-only
    folder = network_folder(root, network, world, training)
    with ByteLocks(folder.with_suffix(".lock")) as locks, one_thread(), storage_errors(folder):
        locks.acquire(0, wait=True)
        for stale in folder.glob(".*.partial"):  # of a killed run: the lock says nobody writes
            remove(stale)
        missing = [step for step, path in folders.items() if not _stands(path)]
        for step in missing:
            remove(folders[step])  # damaged, or nothing
        if missing:
            _Run(folder, objective(network, world, training), training).to(missing, progress)
            remove(folder / "state.safetensors")
    return folders


def _stands(checkpoint: Path) -> bool:
    """Whether it need not be trained: it is there and whole."""
    try:
        return is_whole(checkpoint)
    except DamagedError:
        return False


def checkpoint(
    root: Path,
    network: ToyNetwork,
    world: WorldParameters,
    training: ToyTraining,
    revision: str | None = None,
    *,
    progress: Progress | None = None,
) -> Path:
    """The folder of one checkpoint, called `step120` as a revision of the network, or of the last.

    The first call trains the network and keeps all steps of `training.checkpoints`.

    Raises:
        ConfigError: `revision` is no step that is kept.
    """
    known = {f"step{step}": step for step in kept_steps(training)}
    name = revision or f"step{training.steps}"
    if name not in known:
        raise ConfigError(
            f"toy network {network.name}: revision {name!r} is not kept."
            f"{nearest(name, known)} Kept: {', '.join(known)}; add others to `checkpoints`."
        )
    return train(root, network, world, training, progress=progress)[known[name]]


class _Run:
    """One network on its way from the first step to the last."""

    def __init__(self, folder: Path, objective: Objective, training: ToyTraining) -> None:
        self._folder, self._objective, self._training = folder, objective, training
        self._optimizer = AdamW(
            objective.parts.parameters(), lr=0.0, weight_decay=training.weight_decay
        )
        self._step = 0

    def to(self, keep: list[int], progress: Progress | None) -> None:
        """Train until all of `keep` are written, from the last state that does not pass them."""
        self._restore(min(keep))
        while True:
            if self._step in keep:
                self._write_checkpoint()
            if self._step == max(keep):
                return
            if self._step and self._step % STEPS_PER_STATE == 0:
                self._save_state()
            self._advance()
            if progress:
                progress(self._step, max(keep))

    def _advance(self) -> None:
        self._objective.parts.train()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._step, self._training)
        loss = self._objective.loss(self._step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._step += 1

    def _write_checkpoint(self) -> None:
        path = self._folder / f"step{self._step:06d}"
        self._objective.parts.eval()
        with atomic_folder(path) as partial:
            self._objective.save(partial)
            facts = {"step": self._step} | self._objective.measures()
            seal_checkpoint(partial, f"{path.parent.name}/{path.name}", facts)

    def _tensors(self) -> dict[str, Tensor]:
        """All that changes in training, under names; empty Adam moments are made on demand."""
        parts: nn.Module = self._objective.parts
        tensors = {f"weights.{name}": tensor.data for name, tensor in parts.named_parameters()}
        tensors |= {f"buffers.{name}": tensor for name, tensor in parts.named_buffers()}
        for name, parameter in parts.named_parameters():
            state = self._optimizer.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            tensors |= {f"adam.{name}.{key}": value for key, value in state.items()}
        return tensors

    @property
    def _state(self) -> Path:
        return self._folder / "state.safetensors"

    def _save_state(self) -> None:
        metadata = {"of": self._folder.name, "step": str(self._step)}
        write_tensors(self._state, self._tensors(), metadata)

    def _restore(self, first: int) -> None:
        """Go on from the last state; a damaged one is none."""
        try:
            saved = read_tensors(self._state, {"of": self._folder.name}, "It is made again.")
            step = int(read_metadata(self._state, "")["step"])
        except (FileNotFoundError, DamagedError):
            return
        if step > first:  # a checkpoint asked for later lies before it: start again
            return
        for name, tensor in self._tensors().items():
            tensor.copy_(saved[name])
        self._step = step


def learning_rate(step: int, training: ToyTraining) -> float:
    """Linear warm-up over ten steps, then half a cosine that reaches 0 after the last step."""
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return training.learning_rate * warmup * (1 + math.cos(math.pi * step / training.steps)) / 2


@contextmanager
def one_thread() -> Iterator[None]:
    """What trains so small a network fastest, to weights that depend on no number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
