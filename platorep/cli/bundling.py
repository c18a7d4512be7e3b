"""`platorep bundle`: a finished experiment for others."""

from platorep.cli.experiment import finish, open_experiment
from platorep.cli.options import TALK, CommandLine

BUNDLE = (
    *("config", "target", "features", "num_neighbors", "pack_texts", "pack_images", "licence"),
    *("overrides", "limit", "output", *TALK),
)


def bundle(line: CommandLine) -> None:
    """Pack a finished experiment into one folder or archive, which others can score against."""
    experiment = open_experiment(line)
    from platorep.execute import bundle_stage
    from platorep.packing import Choice

    choice = Choice(
        features=line.features.value,
        neighbors=line.num_neighbors,
        texts=line.pack_texts,
        images=line.pack_images,
        licence=line.licence,
    )
    finish(experiment, lambda run: bundle_stage(run, line.target, choice), line)
