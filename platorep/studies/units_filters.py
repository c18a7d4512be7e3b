"""`platorep units filters`: are first filters Gabor functions, and the same ones?"""

import pandas as pd

from platorep.errors import ConfigError
from platorep.plots.about import framed
from platorep.plots.units_filters import (
    SAID,
    SAID_OF_TILES,
    draw_gabors,
    draw_gallery,
    gabor_points,
    gallery_points,
)
from platorep.studies.context import Context, Found
from platorep.studies.filter_fits import (
    bank_table,
    distribution_table,
    fitted_banks,
    gallery_tiles,
)
from platorep.studies.learned_filters import NATURAL, PatchSource, learned_banks, shared_filters
from platorep.studies.own_filters import own_banks


def units_filters(context: Context) -> Found:
    """Train, fit, compare; one network's failure does not stop the others.

    Raises:
        ConfigError: there is nothing to fit, or the images cannot be learned from.
    """
    settings = context.run.config.units.filters
    if 1 / (settings.surrogates + 1) > settings.alpha:
        context.run.report.warn(
            f"units.filters.surrogates: {settings.surrogates} noises can give no p-value below "
            f"{1 / (settings.surrogates + 1):.3f}, so no filter is told from noise at "
            f"{settings.alpha}; ask for {round(1 / settings.alpha) - 1} at least"
        )
    source = PatchSource(context=context, settings=settings)
    learned = learned_banks(context, source) if settings.objectives else []
    banks = fitted_banks(context, [*learned, *own_banks(context, settings)], settings)
    if not banks:
        context.failures.raise_if_all(1)
        raise ConfigError(
            "units filters: there are no filters to fit. Name `units.filters.objectives`, or ask "
            "for image networks whose first filters or receptive fields are 5 to 32 pixels wide."
        )
    table = pd.concat([one.table for one in banks], ignore_index=True)
    of_banks = bank_table(banks)
    points, tiles = gabor_points(table), gallery_points(gallery_tiles(banks))
    return Found(
        tables={
            "units_filters": table,
            "units_banks": of_banks,
            "units_distributions": distribution_table(banks, NATURAL),
            "units_sharing": shared_filters(context, source, learned),
        },
        figures={
            "units_filters": (framed(draw_gabors, points, SAID), points),
            "units_gallery": (framed(draw_gallery, tiles, SAID_OF_TILES), tiles),
        },
        shown=of_banks.drop(columns=["seed"]).round(3),
    )
