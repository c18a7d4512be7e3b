"""How good a model is: bits per byte, probes, share of tasks solved, and numbers of others."""

from platorep.performance.measures import MEASURES, Measure, measure_of, plan_measure
from platorep.performance.stage import measure

__all__ = ["MEASURES", "Measure", "measure", "measure_of", "plan_measure"]
