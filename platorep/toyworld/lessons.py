"""What the toy networks learn from: one sense of the training scenes, never pairs of two."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.attributes import attributes
from platorep.toyworld.captions import caption
from platorep.toyworld.draws import Draws, Purpose
from platorep.toyworld.films import film
from platorep.toyworld.inputs import as_channels, sound_input, to_waveform
from platorep.toyworld.networks import build_tokenizer
from platorep.toyworld.pictures import picture
from platorep.toyworld.scenes import TRAINING_OFFSET, sample_frames, sample_pairs
from platorep.toyworld.sounds import sound


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


@lru_cache(maxsize=1)
def training_films(
    world: WorldParameters, num_scenes: int, num_frames: int
) -> UInt8[Tensor, "n f tc h w"]:
    """`num_frames` films of each training scene."""
    films = [
        [film(world, frame) for frame in sample_frames(world, index, num_frames)]
        for index in range(TRAINING_OFFSET, TRAINING_OFFSET + num_scenes)
    ]
    return as_channels(torch.from_numpy(np.array(films)))


@lru_cache(maxsize=2)
def training_sounds(
    world: WorldParameters, num_scenes: int, num_frames: int
) -> Float[Tensor, "n f 1 b t"]:
    """`num_frames` recordings of each training scene, as what a network takes of them."""
    sounds = [
        [sound_input(to_waveform(sound(world, frame))) for frame in frames]
        for frames in (
            sample_frames(world, index, num_frames)
            for index in range(TRAINING_OFFSET, TRAINING_OFFSET + num_scenes)
        )
    ]
    return torch.stack([torch.stack(recordings) for recordings in sounds])


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


def augment(
    images: Float[Tensor, "n c h w"], generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Change brightness, contrast and colour balance a little, of all frames of a film alike.

    Mirror and zoom were tried as well and make the networks worse: two frames already differ.
    """
    num, channels = images.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num, *shape, generator=generator)

    gain = uniform(0.8, 1.2, 1, 1, 1) * uniform(0.95, 1.05, 3, 1, 1).repeat(1, channels // 3, 1, 1)
    return images * gain + uniform(-0.15, 0.15, 1, 1, 1)
