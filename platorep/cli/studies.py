"""`platorep bridge` and `platorep units`: what networks share beyond a score."""

import typer

from platorep.cli.experiment import finish, open_experiment
from platorep.cli.options import EXPERIMENT, TALK, WORK, CommandLine, command

bridge = typer.Typer(no_args_is_help=True, help="From one representation to another.")
units = typer.Typer(no_args_is_help=True, help="What single units and filters do.")
TAKES = (*EXPERIMENT, *WORK, "batch_size", "overwrite", "offline", *TALK)


def run_study(line: CommandLine, name: str) -> None:
    experiment = open_experiment(line)
    from platorep.execute import study_stage

    finish(experiment, lambda run: study_stage(run, name), line)


@command(units, "match", *TAKES, example="platorep units match toyworld-units", page="units.md")
def units_match(line: CommandLine) -> None:
    """Which units of two networks do the same over images and positions, or over texts.

    Best buddies by correlation, cliques of them over three networks and more, beside shuffled
    samples and random weights; found on one half of the samples, confirmed on the other.
    """
    run_study(line, "units match")


@command(bridge, "map", *TAKES, example="platorep bridge map toyworld-map", page="bridges.md")
def bridge_map(line: CommandLine) -> None:
    """Fit linear maps on some rows, and find the right one among others through them."""
    run_study(line, "bridge map")


@command(bridge, "match", *TAKES, example="platorep bridge match toyworld-match", page="bridges.md")
def bridge_match(line: CommandLine) -> None:
    """Which item of one model is which of another, from their two kernels alone: no pairs."""
    run_study(line, "bridge match")


@command(units, "filters", *TAKES, example="platorep units filters filters", page="units.md")
def units_filters(line: CommandLine) -> None:
    """Are first filters Gabor functions, and do different objectives learn the same ones?

    Trains small networks on patches of the images for several objectives, and fits their filters
    and those and the receptive fields of the experiment's own image networks, beside noise that is
    as smooth, white noise as images, and random weights.
    """
    run_study(line, "units filters")


@command(
    bridge, "stitch", *TAKES, example="platorep bridge stitch toyworld-stitch", page="bridges.md"
)
def bridge_stitch(line: CommandLine) -> None:
    """The front of one network, a trained linear stitch, the back of another: what is lost?"""
    run_study(line, "bridge stitch")
