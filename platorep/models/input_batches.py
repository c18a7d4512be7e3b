"""Prepared samples of images, sounds and films in batches, and the pooling of their places.

A place is a patch, a frame or a position of a map; prefix tokens (class, register, distillation)
are none. Axes: b samples of a batch, t tokens, d features or channels, h w positions.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from platorep.models.hidden_states import Reader
from platorep.models.processors import Inputs
from platorep.models.sides import arguments

Pool = Literal["mean", "cls"]
PACKED: Mapping[str, tuple[str, ...]] = {
    "hidden_states": ("pixel_values", "pixel_values_videos"),
    "grid_thw": ("image_grid_thw", "video_grid_thw"),
}
"""Arguments of networks that are given patches in a row, and what a processor calls them."""
MASKS = ("attention_mask", "pixel_attention_mask")
LENGTHS = "_get_feat_extract_output_lengths"
"""What speech networks call the number of frames that a convolutional front end leaves."""


class InputBatches(Reader[Inputs]):
    """Gives a network prepared samples, and pools its hidden states over their places."""

    def __init__(
        self, network: Any, pools: Sequence[Pool], *, masked: bool, sample: Inputs
    ) -> None:
        """Find out on `sample` how many tokens stand before the places.

        Args:
            masked: Whether the network is told which part of a sound is padding.
        """
        self._network = network
        self._pools = pools
        self.num_pools = len(pools)
        self._masked = masked
        self._taken = arguments(network)
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._size = 1
        self._real: Tensor | None = None
        """Which places of the last batch are no padding, where somebody says so."""
        self.packed = "grid_thw" in self._taken
        self.num_prefix = self._count_prefix(sample)

    def read(self, batch: Sequence[Inputs], *, all_states: bool) -> Any:
        """The network's output; samples of unequal length are padded at their end."""
        self._size = len(batch)
        stacked = {name: _together([one[name] for one in batch]) for name in batch[0]}
        self._real = next((stacked[name].bool() for name in MASKS if name in stacked), None)
        if not self._masked:
            stacked.pop("attention_mask", None)
        given = {name: value for name, value in self._named(stacked).items() if name in self._taken}
        extra = {"skip_predictor": True} if "skip_predictor" in self._taken else {}
        with torch.inference_mode():
            output = self._network(
                **{name: self._put(value) for name, value in given.items()},
                **extra,
                output_hidden_states=all_states,
                return_dict=True,
            )
        return _with_last_norm(output) if all_states else output

    def pool(self, states: Tensor) -> Float[Tensor, "b d"] | None:
        if self.packed and states.ndim == 2:
            states = states[None]
        if states.ndim not in (3, 4) or states.shape[0] != self._size:
            return None
        of_pools = {
            "cls": lambda: states[:, 0].to(torch.float32),
            "mean": lambda: self._mean_of_places(states),
        }
        return torch.cat([of_pools[pool]() for pool in self._pools], dim=1)  # no view of all tokens

    def _mean_of_places(self, states: Tensor) -> Float[Tensor, "b d"]:
        if states.ndim == 4:
            width = getattr(self._network.config, "hidden_size", None)
            channels_last = states.shape[1] != width == states.shape[3]  # as SAM has its maps
            return states.mean(dim=(1, 2) if channels_last else (2, 3), dtype=torch.float32)
        places = states[:, self.num_prefix :]
        real = self._real_places(places.shape[1])
        if real is None:
            return places.mean(dim=1, dtype=torch.float32)
        total = places.masked_fill(~real[..., None], 0).sum(dim=1, dtype=torch.float32)
        return total / real.sum(dim=1, keepdim=True)

    def _real_places(self, num_places: int) -> Bool[Tensor, "b t"] | None:
        """The mask at the resolution of the states; a mask of samples becomes one of frames."""
        if self._real is None:
            return None
        real = self._real.to(self._device)
        if real.shape[1] != num_places:
            if not hasattr(self._network, LENGTHS) or bool(real.all()):
                return None  # all there is: a tapped module may have places of its own
            places = [self._length(int(number)) for number in real.sum(dim=1)]
            lengths = torch.tensor(places, device=self._device)
            real = torch.arange(num_places, device=self._device) < lengths[:, None]
        return real

    def _length(self, num_samples: int) -> int:
        """Places that the front end makes of a sound: one at least."""
        found = getattr(self._network, LENGTHS)(torch.tensor(num_samples))
        return max(1, int(found[0] if isinstance(found, tuple) else found))

    def _named(self, stacked: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.packed:
            return stacked
        return {
            argument: stacked[name]
            for argument, names in PACKED.items()
            for name in names
            if name in stacked
        }

    def _put(self, value: Tensor) -> Tensor:
        dtype = self._dtype if value.is_floating_point() else None
        return value.to(self._device, dtype)

    def _count_prefix(self, sample: Inputs) -> int:
        """Tokens of the embedding output that are no patch of a two- or three-dimensional cut.

        The first convolution cuts an image, a spectrogram or a film into patches.
        """
        cuts = (m for m in self._network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)))
        cut = next(cuts, None)
        if cut is None:
            return 0
        positions = 0

        def count(_: nn.Module, __: Any, output: Tensor) -> None:
            nonlocal positions
            positions = output.numel() // output.shape[1]

        hook = cut.register_forward_hook(count)
        try:
            first = self.read([sample], all_states=True).hidden_states[0]
        finally:
            hook.remove()
        if first.ndim != 3:
            return 0
        return max(0, int(first.shape[1]) - positions)


def can_be_padded(inputs: Inputs) -> bool:
    """Whether these are samples of a waveform, which zeros may follow."""
    return inputs.get("input_values", torch.zeros(())).ndim == 2


def _together(values: Sequence[Tensor]) -> Tensor:
    """One tensor; zeros up to the longest, as extractors pad (in a mask: no sample of a sound)."""
    longest = max(value.shape[-1] for value in values)
    return torch.cat([F.pad(value, (0, longest - value.shape[-1])) for value in values])


def _with_last_norm(output: Any) -> Any:
    """The output with its last hidden state after the final norm, if there is one.

    Whether `hidden_states` has it before or after differs between networks, and between releases.
    CLAP gives its map in another order, which no mean sees.
    """
    states, last = getattr(output, "hidden_states", None), output.last_hidden_state
    if states and states[-1].shape[:2] == last.shape[:2] and states[-1].numel() == last.numel():
        states = (*states[:-1], last)
    return SimpleNamespace(hidden_states=states, last_hidden_state=last)
