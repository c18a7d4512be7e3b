"""How good a model is: bits per byte, probes, share of tasks solved, and numbers of others."""

from platorep.performance.bits import Measurement, bits_per_byte, measurement_key
from platorep.performance.causal import CausalModel, LoadedCausalModel, open_causal
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.harness import Evaluation, evaluations_of, read_evaluations
from platorep.performance.labelled import Labelled, read_labelled
from platorep.performance.measures import MEASURES, Measure, measure_of, plan_measure
from platorep.performance.probes import Examples, ProbeResult, run_probe
from platorep.performance.solved import Solved, tasks_solved
from platorep.performance.stage import measure
from platorep.performance.table import TableEntry, decimal_year, read_table

__all__ = [
    "MEASURES",
    "CausalModel",
    "Corpus",
    "Evaluation",
    "Examples",
    "Labelled",
    "LoadedCausalModel",
    "Measure",
    "Measurement",
    "ProbeResult",
    "Solved",
    "TableEntry",
    "bits_per_byte",
    "decimal_year",
    "evaluations_of",
    "measure",
    "measure_of",
    "measurement_key",
    "open_causal",
    "plan_measure",
    "read_corpus",
    "read_evaluations",
    "read_labelled",
    "read_table",
    "run_probe",
    "tasks_solved",
]
