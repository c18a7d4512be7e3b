"""Paired datasets: images, their captions, and the identity of every row."""

from platorep.data.load import load_dataset, load_images
from platorep.data.paired import Copies, DroppedRow, PairedDataset

__all__ = [
    "Copies",
    "DroppedRow",
    "PairedDataset",
    "load_dataset",
    "load_images",
]
