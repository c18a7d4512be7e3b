"""What needs no network: words counted, colours counted, a few grey pixels, loudness by pitch.

`controls: {baselines: true}` adds them as models. A network whose score does not exceed theirs has
shown no more than that both modalities tell of the same words and colours.

Each is a fixed formula, so it has one layer and no weights. The vectors of words and colours are
mostly zeros, and clipping at a quantile, which preprocessing does, would make all of them zero: so
all are rotated at the end (`rotated`), which changes neither lengths nor angles.
Axes: n samples, d features, w features of a rotated vector.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError, DataError, nearest
from platorep.kinds.audio import Sound, resampled
from platorep.kinds.draws import below
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    Reading,
    Samples,
    refuse_other_settings,
)
from platorep.models.streamed import Streamed
from platorep.parameters.baselines import BASELINES

MAX_WORDS = 4096
"""Of the vocabulary: the most frequent ones. Vectors are dense, as all features are."""
COLOURS = 8
"""Parts that each of red, green and blue is divided into."""
THUMBNAIL = 16  # pixels to a side
RATE, WINDOW, HOP, BANDS, LOWEST_HZ = 16_000, 400, 160, 64, 20
"""Of sounds: samples per second, 25 ms in samples, 10 ms, mel bands, and where these begin."""
WORDS: Mapping[str, Any] = {
    "lowercase": True,
    "token_pattern": r"(?u)\b\w\w+\b",
    "use_idf": True,
    "smooth_idf": True,
    "sublinear_tf": False,
    "norm": "l2",
}
"""Of scikit-learn's TfidfVectorizer: its defaults, spelt out, so that no version moves a number."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "bag of words": {**WORDS, "max_words": MAX_WORDS},
    "colour histogram": {"colours": COLOURS},
    "grey thumbnail": {"pixels": THUMBNAIL},
    "mean log-mel": {
        **{"rate": RATE, "window": WINDOW, "hop": HOP},
        **{"bands": BANDS, "lowest_hz": LOWEST_HZ},
    },
}
VERSION = 1  # raise when the same rows and settings give other features


class BaselineModel(Model):
    """A baseline by name, on one view."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_other_settings(spec)
        if spec.name not in BASELINES:
            raise ConfigError(
                f"model {spec.label!r}: no baseline is called {spec.name!r}."
                f"{nearest(spec.name, BASELINES)} There are: {', '.join(BASELINES)}."
            )
        if spec.kind != BASELINES[spec.name]:
            raise ConfigError(
                f"model {spec.label!r} describes views of kind {BASELINES[spec.name]}; the view "
                f"{spec.view!r} is of kind {spec.kind}."
            )
        self.spec = spec

    def identity(self) -> dict[str, Any]:
        """The weights of words depend on all rows of the view, which the key of a cell names."""
        name = self.spec.name
        return {
            "backend": "baseline",
            "baseline": name,
            "version": VERSION,
            "settings": dict(SETTINGS[name]),
        }

    def describe(self) -> Description:
        width = _WIDTHS.get(self.spec.name)
        return Description(
            layers=(self.spec.name,),
            widths=None if width is None else (width,),
            tap="the vector itself, rotated",
            download_bytes=0,
            unknown=() if width else ("width: it depends on the number of words in the texts",),
        )

    def download(self) -> None:
        """There is nothing to fetch."""

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        if self.spec.kind == "text":
            return BagOfWords(self.spec.name)
        return StreamedBaseline(self.spec.name)


class BagOfWords(Loaded):
    """Term frequency times inverse document frequency, over all texts of the view."""

    def __init__(self, name: str) -> None:
        self.layers = (name,)
        self._of: Samples | None = None
        self._vectorizer: Any = None
        self._left_out = 0
        self._empty: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self._left_out:
            notes.append(f"{self._left_out} words rarer than the {MAX_WORDS} commonest count not")
        if self._empty:
            notes.append(
                f"{len(self._empty)} rows have none of the words, and vectors of zeros "
                f"(the first: {self._empty[0]!r})"
            )
        return tuple(notes)

    def forget(self) -> None:
        self._empty = []

    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        samples = reading.samples
        if self._of is not samples:
            texts = [str(samples[i]) for i in range(len(samples))]
            self._vectorizer, self._left_out = fitted(texts)
            self._of = samples
        found = self._vectorizer.transform([samples[i] for i in reading.rows]).toarray()
        self._empty += [
            samples.ids[i] for i, row in zip(reading.rows, found, strict=True) if not row.any()
        ]
        reading.progress(len(reading.rows))
        return [rotated(torch.from_numpy(found)).float()]


def fitted(texts: Sequence[str]) -> tuple[Any, int]:
    """The vectorizer of these texts, and how many of their words are left out of it.

    Of words that are equally frequent the first in the order of Unicode are kept.

    Raises:
        DataError: there is no word in any text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    split = TfidfVectorizer(**WORDS).build_analyzer()
    counts = Counter(word for text in texts for word in split(text))
    if not counts:
        raise DataError(
            f"none of the {len(texts)} texts has a word of two letters or more, so there is "
            "nothing to count"
        )
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:MAX_WORDS]
    vectorizer = TfidfVectorizer(**WORDS, vocabulary=sorted(kept), dtype=np.float64)
    return vectorizer.fit(texts), len(counts) - len(kept)


class StreamedBaseline(Streamed):
    """A vector of each image or sound by itself, made in worker processes."""

    def __init__(self, name: str) -> None:
        super().__init__(_VECTORS[name], torch.device("cpu"))
        self.layers = (name,)

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def pooled(self, batch: Iterable[Any]) -> list[Float[Tensor, "n _"]]:
        return [rotated(torch.stack(list(batch))).float()]


def colour_histogram(image: Image.Image) -> Float[Tensor, " d"]:
    """The square root of the share of the pixels in each of `COLOURS`^3 boxes of RGB.

    Two images' inner product is the Bhattacharyya coefficient of their colours: 1 where they have
    the same, 0 where they have none in common.
    """
    parts = np.asarray(image.convert("RGB"), dtype=np.int64).reshape(-1, 3) * COLOURS // 256
    boxes = parts @ np.array([COLOURS**2, COLOURS, 1])
    shares = np.bincount(boxes, minlength=COLOURS**3) / len(boxes)
    return torch.from_numpy(np.sqrt(shares))


def grey_thumbnail(image: Image.Image) -> Float[Tensor, " d"]:
    """Grey values of `THUMBNAIL` by `THUMBNAIL` pixels, -1 (black) to 1; the image is squashed."""
    small = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float64).ravel() / 127.5 - 1)


def mean_log_mel(sound: Sound) -> Float[Tensor, " d"]:
    """The mean over time of the log power in `BANDS` mel bands, 0 where there is silence."""
    from platorep.toyworld.inputs import FLOOR, log_mel, mel_bands

    waveform = torch.from_numpy(resampled(sound, RATE).waveform)
    filled = torch.nn.functional.pad(waveform, (0, max(0, WINDOW - len(waveform))))
    bands = mel_bands(WINDOW, BANDS, LOWEST_HZ, RATE)
    loudness = log_mel(filled, bands, WINDOW, HOP).double()
    return (loudness - float(np.log(FLOOR))).mean(dim=1)


def rotated(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """The vectors in another orthonormal basis, in which each coordinate takes part of every one.

    Zeros are added up to w, the next power of two; random signs, the same for every vector, and a
    Walsh-Hadamard transform follow. All inner products stay.
    """
    num, width = len(vectors), 1 << max(0, vectors.shape[1] - 1).bit_length()
    padded = torch.nn.functional.pad(vectors.double(), (0, width - vectors.shape[1]))
    mixed = padded * _signs(width)
    half = 1
    while half < width:
        pairs = mixed.reshape(num, -1, 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        mixed = torch.stack([first + second, first - second], dim=2).reshape(num, width)
        half *= 2
    return mixed / float(np.sqrt(width))


@lru_cache
def _signs(width: int) -> Float[Tensor, " w"]:
    return torch.tensor(below(0, *[2] * width), dtype=torch.float64) * 2 - 1


_VECTORS: Mapping[str, Callable[[Any], Float[Tensor, " d"]]] = {
    "colour histogram": colour_histogram,
    "grey thumbnail": grey_thumbnail,
    "mean log-mel": mean_log_mel,
}
_WIDTHS = {
    "colour histogram": COLOURS**3,
    "grey thumbnail": THUMBNAIL**2,
    "mean log-mel": BANDS,
}
