"""How good a model is: bits per byte of causal language models, and numbers from tables."""

from platorep.performance.bits import Measurement, bits_per_byte, measurement_key
from platorep.performance.causal import CausalModel, LoadedCausalModel, open_causal
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.stage import measure
from platorep.performance.table import TableEntry, read_table

__all__ = [
    "CausalModel",
    "Corpus",
    "LoadedCausalModel",
    "Measurement",
    "TableEntry",
    "bits_per_byte",
    "measure",
    "measurement_key",
    "open_causal",
    "read_corpus",
    "read_table",
]
