"""What `platorep bridge match` matches, as an experiment says it: rows, groups, words, places."""

import numpy as np
from jaxtyping import Int64

from platorep.align.groups import groups_of_rows
from platorep.bridges import items
from platorep.bridges.items import NO_GROUP, Items, Rows
from platorep.config.bridges import MatchConfig
from platorep.data.words import texts_with_words
from platorep.errors import ConfigError, DataError, IntegrityError
from platorep.studies.context import Context
from platorep.toyworld.folder import scene_index
from platorep.toyworld.scenes import sample_scene

PLACE = "place"
Groups = tuple[list[str], Int64[np.ndarray, " n"]]


def divided(num_rows: int, settings: MatchConfig) -> tuple[Rows, Rows]:
    """Rows to choose layers on (none if they are fixed), and rows to match, in a random order."""
    order = np.random.default_rng([settings.seed, num_rows]).permutation(num_rows)
    num = round(settings.choose * num_rows) if settings.layers == "best" else 0
    return order[:num], order[num:]


def items_of(context: Context, settings: MatchConfig, rows: Rows, num_rows: int) -> Items:
    """The items of an experiment.

    Raises:
        ConfigError: `groups: place` of another world, or a view that is not there.
        DataError: there are fewer items than are to be matched; or the file of groups, or a word,
            is wrong.
    """
    grouped = settings.groups is not None or bool(settings.words)
    if not grouped:
        found = items.single_rows(list(context.rows["id"]), rows)
    else:
        names, group = _groups(context, settings, num_rows)
        found = items.groups_of_rows(names, group, rows, settings.rows, apart=settings.apart)
    if len(found) < max(settings.items):
        of = f"groups have {settings.rows} rows for each side" if grouped else "rows are left"
        cure = "Lower bridge.match.rows or items" if grouped else "Lower bridge.match.items"
        raise DataError(
            f"bridge.match.items: {max(settings.items)} items are to be matched, and {len(found)} "
            f"{of}. {cure}, or raise dataset.limit."
        )
    return found


def _groups(context: Context, settings: MatchConfig, num_rows: int) -> Groups:
    if settings.words:
        return _of_words(context, settings, num_rows)
    assert settings.groups is not None
    if settings.groups == PLACE:
        labels = _places(context)
    else:
        labels = groups_of_rows(settings.groups, "bridge.match.groups", context.run.results)
    names, group = np.unique(labels[:num_rows], return_inverse=True)
    return [str(name) for name in names], group


def _places(context: Context) -> list[str]:
    dataset = context.run.config.dataset
    if dataset.source != "toyworld":
        raise ConfigError(
            f"bridge.match.groups: only the toy world has places, and dataset.source is "
            f"{dataset.source!r}. Name a CSV file with the columns id and group, or say `words`."
        )
    scenes = [sample_scene(dataset.world, scene_index(row)) for row in context.rows["id"]]
    return [f"{scene.place:04d}" for scene in scenes]


def _of_words(context: Context, settings: MatchConfig, num_rows: int) -> Groups:
    views, rows = context.dataset.views, context.rows
    view = views.get(settings.view)
    if view is None or view.texts is None:
        raise ConfigError(
            f"bridge.match.view: {settings.view!r} is no view of texts of this experiment; its "
            f"views are {', '.join(views)}."
        )
    if view.hashes[:num_rows] != tuple(rows[f"{view.name}_sha256"])[:num_rows]:
        raise IntegrityError(
            f"the texts of the view {view.name!r} are others than were extracted. Run "
            "`platorep extract` with this experiment again."
        )
    members = texts_with_words(view.texts[:num_rows], settings.words, "bridge.match.words")
    group = items.rarest_group(members)
    assert group.min() >= NO_GROUP
    return [word.split("/")[0] for word in settings.words], group
