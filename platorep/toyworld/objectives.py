"""What the toy networks are trained for. Each objective owns its network and gives a loss per step.

A loss is a function of the weights and the step alone: nothing else has to be kept to resume.
"""

import math
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from platorep.parameters.toyworld import (
    ATTRIBUTES,
    ToyNetwork,
    ToyTraining,
    WorldParameters,
)
from platorep.toyworld.captions import caption
from platorep.toyworld.checkpoints import save_language, save_timm
from platorep.toyworld.inputs import pixel_input
from platorep.toyworld.lessons import (
    augment,
    batch_order,
    tokenize,
    training_attributes,
    training_films,
    training_pictures,
    training_sounds,
    training_tokens,
)
from platorep.toyworld.networks import PADDING_ID, build_language, build_timm, seeded
from platorep.toyworld.scenes import HELD_OUT_OFFSET, sample_pairs

NUM_HELD_OUT = 500
HEAD_SEED_OFFSET = 1  # the head's weights must not repeat the network's
_LESSONS = {"vision": training_pictures, "video": training_films, "audio": training_sounds}


@runtime_checkable
class Objective(Protocol):
    @property
    def parts(self) -> nn.Module:
        """Everything with weights: the network and what is thrown away after training."""
        ...

    def loss(self, step: int) -> Tensor: ...

    def save(self, path: Path) -> None:
        """Write the network alone as an ordinary checkpoint into the folder `path`."""
        ...

    def measures(self) -> dict[str, float]:
        """What is recorded beside a checkpoint."""
        ...


class _Perception:
    """A network of pictures, films or sounds with a head on its pooled features."""

    def __init__(
        self, network: ToyNetwork, world: WorldParameters, training: ToyTraining, head: int
    ) -> None:
        self._network, self._world, self._training = network, world, training
        model = build_timm(network, world.image_size, training.seed)
        width = cast(int, model.num_features)
        with seeded(training.seed + HEAD_SEED_OFFSET):
            layers = (nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, head))
            self.parts = nn.ModuleDict({"model": model, "head": nn.Sequential(*layers)})

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._training.seed * 2**20 + step)

    def _batch(self, step: int, num_views: int) -> tuple[list[int], Float[Tensor, "m c h w"]]:
        """The scenes of one step, and `num_views` different frames of each.

        Pictures and films are augmented. Sounds are not: it was tried with their loudness, and
        makes no better networks.
        """
        training = self._training
        lessons = _LESSONS[self._network.modality]
        frames = lessons(self._world, training.num_scenes, training.num_frames)
        scenes = batch_order(training.seed, step, training.num_scenes, training.batch_size)
        generator = self._generator(step)
        order = torch.rand(len(scenes), training.num_frames, generator=generator).argsort(1)
        views = torch.cat([frames[scenes, order[:, view]] for view in range(num_views)])
        if self._network.modality == "audio":
            return scenes, views
        return scenes, augment(pixel_input(views), generator)

    def save(self, path: Path) -> None:
        save_timm(path, self.parts["model"], self._network, self._world.image_size)

    def measures(self) -> dict[str, float]:
        return {}


class Contrastive(_Perception):
    """SimCLR: two frames of a scene are alike, frames of different scenes are not.

    Source: arXiv:2002.05709, with two frames in the place of two crops of one picture.
    """

    def __init__(self, network: ToyNetwork, world: WorldParameters, training: ToyTraining) -> None:
        super().__init__(network, world, training, head=32)

    def loss(self, step: int) -> Tensor:
        _, frames = self._batch(step, num_views=2)
        projected = self.parts["head"](self.parts["model"](frames))
        return contrastive_loss(projected, self._training.temperature)


def contrastive_loss(projected: Float[Tensor, "m d"], temperature: float) -> Float[Tensor, ""]:
    """NT-Xent: the mean over rows of -log softmax at the row's partner, row i + m/2 (mod m).

    Range from near 0 to, when nothing is learned, log(m - 1).
    """
    num = len(projected)
    unit = F.normalize(projected, dim=-1)
    logits = (unit @ unit.T) / temperature
    logits = logits.masked_fill(torch.eye(num, dtype=torch.bool), -math.inf)
    partners = (torch.arange(num) + num // 2) % num
    return F.cross_entropy(logits, partners)


class AttributePrediction(_Perception):
    """Supervised: does the scene have it? One yes or no per task.

    Source: the multitask and contravariance hypotheses, arXiv:2405.07987 section 3, 2104.01489.
    """

    def __init__(self, network: ToyNetwork, world: WorldParameters, training: ToyTraining) -> None:
        super().__init__(network, world, training, head=len(training.tasks))

    def loss(self, step: int) -> Tensor:
        scenes, frames = self._batch(step, num_views=1)
        truth = training_attributes(self._world, self._training.num_scenes)
        answers = truth[scenes][:, [ATTRIBUTES.index(task) for task in self._training.tasks]]
        logits = self.parts["head"](self.parts["model"](frames))
        return F.binary_cross_entropy_with_logits(logits, answers)


class NextToken:
    """A causal language model on the captions of the training scenes."""

    def __init__(self, network: ToyNetwork, world: WorldParameters, training: ToyTraining) -> None:
        self._world, self._training = world, training
        self._model = build_language(network, training.seed)
        self.parts: nn.Module = self._model

    def loss(self, step: int) -> Tensor:
        training = self._training
        tokens = training_tokens(self._world, training.num_scenes, training.num_frames)
        scenes = batch_order(training.seed, step, training.num_scenes, training.batch_size)
        generator = torch.Generator().manual_seed(training.seed * 2**20 + step)
        variants = torch.randint(training.num_frames, (len(scenes),), generator=generator)
        return next_token_loss(self._model, tokens[scenes, variants]).mean()

    def save(self, path: Path) -> None:
        save_language(path, self._model)

    def measures(self) -> dict[str, float]:
        """Bits per UTF-8 byte of held-out captions, each after `<s>`, its end not scored."""
        scenes = sample_pairs(self._world, NUM_HELD_OUT, HELD_OUT_OFFSET)
        texts = [caption(self._world, scene) for scene in scenes]
        tokens = tokenize(texts)
        lengths = (tokens != PADDING_ID).sum(1)
        tokens[torch.arange(len(tokens)), lengths - 1] = PADDING_ID  # the closing <s>
        with torch.no_grad():
            nats = next_token_loss(self._model, tokens).double().sum().item()
        num_bytes = sum(len(text.encode()) for text in texts)
        return {"bits_per_byte": nats / math.log(2) / num_bytes}


def next_token_loss(model: LlamaForCausalLM, tokens: Int[Tensor, "n t"]) -> Float[Tensor, " s"]:
    """-log P(token | those before it) in nats, of all tokens that are not padding."""
    logits = model(tokens[:, :-1]).logits
    targets = tokens[:, 1:]
    scored = targets != PADDING_ID
    return F.cross_entropy(logits[scored], targets[scored], reduction="none")


def objective(network: ToyNetwork, world: WorldParameters, training: ToyTraining) -> Objective:
    """What `network` is trained for: language next tokens, others SimCLR or, if given, tasks."""
    if network.modality == "language":
        return NextToken(network, world, training)
    kind = AttributePrediction if training.tasks else Contrastive
    return kind(network, world, training)
