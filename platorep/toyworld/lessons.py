"""What the toy networks learn from: pictures or captions of the training scenes, never pairs."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.attributes import attributes
from platorep.toyworld.captions import caption
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.networks import build_tokenizer
from platorep.toyworld.pictures import picture
from platorep.toyworld.scenes import TRAINING_OFFSET, sample_frames, sample_pairs


@lru_cache(maxsize=2)
def training_pictures(
    world: WorldParameters, num_scenes: int, num_frames: int
) -> UInt8[Tensor, "n f 3 h w"]:
    """`num_frames` pictures of each training scene."""
    frames = [
        [picture(world, frame) for frame in sample_frames(world, index, num_frames)]
        for index in range(TRAINING_OFFSET, TRAINING_OFFSET + num_scenes)
    ]
    return torch.from_numpy(np.array(frames)).permute(0, 1, 4, 2, 3).contiguous()


@lru_cache(maxsize=2)
def training_tokens(
    world: WorldParameters, num_scenes: int, num_variants: int
) -> Int[Tensor, "n v t"]:
    """`num_variants` captions of each training scene as token ids: `<s>` words `<s>` padding."""
    scenes = sample_pairs(world, num_scenes, TRAINING_OFFSET)
    texts = [caption(world, s, variant=variant) for s in scenes for variant in range(num_variants)]
    return tokenize(texts).reshape(num_scenes, num_variants, -1)


@lru_cache(maxsize=2)
def training_attributes(world: WorldParameters, num_scenes: int) -> Float[Tensor, "n d"]:
    """1 where a training scene has the attribute, else 0; columns as in the layer `all`."""
    scenes = sample_pairs(world, num_scenes, TRAINING_OFFSET)
    return torch.from_numpy(np.minimum(attributes(world, scenes)["all"], 1)).float()


def tokenize(texts: list[str]) -> Int[Tensor, "n t"]:
    """Token ids of each text, after `<s>` and before `<s>`, padded on the right."""
    tokenizer = build_tokenizer()
    start, padding = tokenizer.bos_token_id, tokenizer.pad_token_id
    rows = [[start, *ids, start] for ids in tokenizer(texts)["input_ids"]]
    longest = max(map(len, rows))
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])


def batch_order(seed: int, step: int, num: int, size: int) -> list[int]:
    """The `size` different scenes of one step: a function of seed and step, so runs can resume."""
    words = Draws(seed, step, Purpose.BATCH).words(num)
    return sorted(range(num), key=lambda index: (words[index], index))[:size]


def to_input(pixels: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Pixel values as the saved networks' transform makes them: -1 .. 1."""
    return pixels.float() / 127.5 - 1


def augment(
    images: Float[Tensor, "n 3 h w"], generator: torch.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Change brightness, contrast and colour balance a little.

    Mirror and zoom were tried as well and make the networks worse: two frames already differ.
    """
    num = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num, *shape, generator=generator)

    gain = uniform(0.8, 1.2, 1, 1, 1) * uniform(0.95, 1.05, 3, 1, 1)
    return images * gain + uniform(-0.15, 0.15, 1, 1, 1)
