"""Datasets: rows that are events of the world, their views, and the identity of each."""

from platorep.data.events import Copies, DroppedRow, EventDataset, View
from platorep.data.load import load_dataset, load_view

__all__ = [
    "Copies",
    "DroppedRow",
    "EventDataset",
    "View",
    "load_dataset",
    "load_view",
]
