"""Image-caption pairs with their identities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from PIL import Image

from platorep.config import hashes_column
from platorep.data.captions import num_words
from platorep.data.images import decode_image
from platorep.data.source import ImageReference, RowSource
from platorep.errors import DataError, IntegrityError
from platorep.files import canonical_json, sha256


@dataclass(frozen=True)
class DroppedRow:
    row: int
    """Number in the source's own order, from 0."""
    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class Copies:
    """Rows whose image (or text) is the exact copy of an earlier row's."""

    count: int
    first: tuple[tuple[str, str], ...]
    """Ids of the first few copies, each with the id of the row that it repeats."""


class SourceImages(Sequence[ImageReference]):
    """The images of some rows of a source, which is opened when the first one is wanted.

    Pickles as the references themselves.
    """

    def __init__(self, open_source: Callable[[], RowSource], rows: Sequence[int]) -> None:
        self._open, self._rows = open_source, rows

    @cached_property
    def _references(self) -> tuple[ImageReference, ...]:
        source = self._open()
        try:
            images = [source.row(row).image for row in self._rows]
        except IndexError:
            images = []
        if not images or None in images:
            raise IntegrityError(
                "the dataset changed while it was in use: it has fewer images now. Run the "
                "command again."
            )
        return tuple(image for image in images if image is not None)

    def __getitem__(self, index: Any) -> Any:
        return self._references[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[type, tuple[tuple[ImageReference, ...]]]:
        return tuple, (self._references,)


@dataclass(frozen=True, kw_only=True)
class PairedDataset:
    """Rows of one image and one text each. Holds no pixels: cheap to send to a process."""

    name: str
    """Short; fit for a folder's name."""
    provenance: Mapping[str, Any]
    """JSON: source, resolved revision, split, caption choice, counts."""
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    image_hashes: tuple[str, ...]
    """SHA-256 of the encoded bytes."""
    text_hashes: tuple[str, ...]
    """SHA-256 of the UTF-8 text."""
    dropped: tuple[DroppedRow, ...]
    duplicates: Mapping[str, Copies]
    """Under `images` and `texts`; counted before duplicates are dropped."""
    images: Sequence[ImageReference]
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> texts of the same rows, where the experiment has `dataset.variants`."""

    def reading(self, variant: str) -> "PairedDataset":
        """The same rows with the texts of one variant; "" is the dataset as it is."""
        if not variant:
            return self
        texts = self.variants[variant]
        hashes = tuple(sha256(text.encode()) for text in texts)
        return replace(self, texts=texts, text_hashes=hashes)

    @property
    def mean_words(self) -> float:
        """Mean number of words of a text, as white space divides them."""
        return sum(map(num_words, self.texts)) / len(self)

    @cached_property
    def fingerprint(self) -> str:
        """Names these rows in this order, on every machine."""
        rows = zip(self.ids, self.image_hashes, self.text_hashes, strict=True)
        return sha256(canonical_json([list(row) for row in rows]).encode())

    @cached_property
    def hashes(self) -> Mapping[str, tuple[str, ...]]:
        """Hashes of what there is to see of the rows: the columns of rows.parquet, without ids."""
        texts = {name: self.reading(name).text_hashes for name in ("", *self.variants)}
        return {hashes_column("image"): self.image_hashes} | {
            hashes_column("text", name): hashes for name, hashes in texts.items()
        }

    def __len__(self) -> int:
        return len(self.ids)

    def image_bytes(self, index: int) -> bytes:
        """The encoded image of a row, as it was when the dataset was loaded.

        Raises:
            IntegrityError: the bytes are others now.
        """
        encoded = self.images[index].read()
        if sha256(encoded) != self.image_hashes[index]:
            raise IntegrityError(
                f"the image of row {index} (id {self.ids[index]!r}) changed while it was in use. "
                "Run the command again."
            )
        return encoded

    def image(self, index: int) -> Image.Image:
        """The image of a row: upright, RGB."""
        try:
            return decode_image(self.image_bytes(index))
        except DataError as error:
            raise DataError(f"row {index} (id {self.ids[index]!r}): {error}") from error

    def report(self) -> dict[str, Any]:
        """What run.json says about the dataset."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            **self.provenance,
            "dropped": [asdict(row) for row in self.dropped],
            "duplicates": {what: asdict(copies) for what, copies in self.duplicates.items()},
        }
