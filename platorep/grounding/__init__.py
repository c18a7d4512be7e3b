"""The metrics themselves, tried where the answer is known: `platorep list metrics --ground CONFIG`.

Two kinds of trial. A dial (`dial`): two senses share a fraction s of their information, in a world
in closed form (`latent`) and in the toy world (`senses`); does a metric follow s, and how finely?
And the three designs of the ReSi benchmark (arXiv:2408.00531) on an experiment's trained networks
(`designs`): layers, kinds, outputs. `stage` makes one table of it.
"""

from platorep.grounding.stage import ground, grounded_metrics, in_short

__all__ = ["ground", "grounded_metrics", "in_short"]
