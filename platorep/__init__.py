"""Do neural networks, trained apart, converge on one representation of the world? Measure it."""

__version__ = "0.1.0"
