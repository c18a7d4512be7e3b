"""Labelled images in three parts. A label is the text of its image."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from platorep.config import LabelledConfig
from platorep.data import EventDataset, load_dataset
from platorep.errors import DataError
from platorep.files import canonical_json, sha256


@dataclass(frozen=True)
class Subset:
    """Some rows of a dataset."""

    dataset: EventDataset
    rows: range

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.dataset.views["text"][i] for i in self.rows)

    @property
    def image_hashes(self) -> tuple[str, ...]:
        return tuple(self.dataset.views["image"].hashes[i] for i in self.rows)


@dataclass(frozen=True)
class Labelled:
    """What a probe is trained on, chosen on, and reported on."""

    train: Subset
    validation: Subset
    test: Subset

    @property
    def datasets(self) -> tuple[EventDataset, ...]:
        """Each once: parts of one dataset share its features."""
        parts = (self.train, self.validation, self.test)
        return tuple({id(part.dataset): part.dataset for part in parts}.values())

    @cached_property
    def sha256(self) -> str:
        """Names the images, their labels and their division."""
        parts = (self.train, self.validation, self.test)
        rows = [list(zip(part.image_hashes, part.labels, strict=True)) for part in parts]
        return sha256(canonical_json(rows).encode())

    @property
    def chance(self) -> float:
        """Accuracy of always saying the class that is most frequent in training."""
        counts = Counter(self.train.labels + self.validation.labels)
        (most, _), *_ = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return self.test.labels.count(most) / len(self.test.rows)

    @property
    def num_leaked(self) -> int:
        """Test images that are exact copies of images that a probe is trained or chosen on."""
        seen = {*self.train.image_hashes, *self.validation.image_hashes}
        return sum(image in seen for image in self.test.image_hashes)


def read_labelled(config: LabelledConfig, *, offline: bool) -> Labelled:
    """Read the splits; what is not named is set apart from the end of the shuffled `split`.

    Raises:
        AbsentError, ConfigError, DataError: as `load_dataset`; or a part is empty, training has
            one class only, or the test images are those of training.
    """

    def load(split: str) -> EventDataset:
        return load_dataset(config.dataset(split), offline=offline, labels=True)

    rows = load(config.split)
    num_test = 0 if config.test_split else round(config.test_share * len(rows))
    num_validation = 0 if config.validation_split else round(config.validation_share * len(rows))
    first_test = len(rows) - num_test
    first_validation = first_test - num_validation
    found = Labelled(
        train=Subset(rows, range(first_validation)),
        validation=_whole(load(config.validation_split))
        if config.validation_split
        else Subset(rows, range(first_validation, first_test)),
        test=_whole(load(config.test_split))
        if config.test_split
        else Subset(rows, range(first_test, len(rows))),
    )
    sizes = {name: len(part.rows) for name, part in vars(found).items()}
    if not all(sizes.values()):
        raise DataError(f"{config.source}: a part has no images: {sizes}. Set other shares.")
    if len(set(found.train.labels)) < 2:
        raise DataError(
            f"{config.source}: all {sizes['train']} training images have the label "
            f"{found.train.labels[0]!r}; a probe needs two classes. Is {config.label!r} the column?"
        )
    if found.num_leaked == sizes["test"]:
        raise DataError(
            f"{config.source}: every image of the test part is also one of training or validation. "
            "Do two splits name the same rows? Without split names the rows are divided."
        )
    return found


def num_splits(config: LabelledConfig) -> int:
    """How many splits are read."""
    return 1 + bool(config.validation_split) + bool(config.test_split)


def _whole(dataset: EventDataset) -> Subset:
    return Subset(dataset, range(len(dataset)))
