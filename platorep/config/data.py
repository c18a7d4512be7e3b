"""The dataset."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_serializer, model_validator

from platorep.config.paths import NameOrPath
from platorep.config.variants import refuse_variants
from platorep.errors import nearest
from platorep.parameters.deadleaves import LeavesParameters
from platorep.parameters.section import Section, idle_settings
from platorep.parameters.toyworld import WorldParameters
from platorep.parameters.views import (
    CHANGES,
    KIND_NAMES,
    CaptionChoice,
    Change,
    KindName,
    ObservedView,
    ViewConfig,
)
from platorep.plugins import plugin_names

DatasetFormat = Literal[
    "hub", "folder", "class_folders", "parquet", "webdataset", "toyworld", "deadleaves"
]
ViewName = Annotated[str, Field(pattern=r"\S")]
PAIR = ("image", "text", "caption_index", "separator")
"""The short form: the two views of an image-caption pair."""
ONLY_TEXTS_HAVE = ("captions", "separator", "order", "level")


class DatasetConfig(Section):
    """Events of the world. Rows are shuffled, bad rows and duplicates dropped, then limited."""

    source: NameOrPath
    """A hub identifier, a folder with a captions file, such a file (`.csv`, `.jsonl`), `*.parquet`,
    a pattern of tar shards, or `toyworld`, the built-in world (1024 rows unless `limit` says
    otherwise), or `deadleaves`, pictures of occluding discs without texts (256 likewise)."""
    format: DatasetFormat | None = None
    """How to read `source`; worked out from it when absent. `class_folders`: a subfolder of images
    (or sounds, films) per class, whose name is the text."""
    world: WorldParameters = WorldParameters()
    """The world of `source: toyworld`."""
    leaves: LeavesParameters = LeavesParameters()
    """The world of `source: deadleaves`."""
    subset: str | None = None
    """The hub dataset's configuration name."""
    revision: str | None = None
    """Branch, tag or commit of the hub dataset."""
    split: str = "train"
    """Split of the hub dataset."""
    image: str = "image"
    """Column (or file ending, in tar shards) of the image."""
    text: str | tuple[str, ...] = "text"
    """Column of the captions (a string or a list of strings), or several columns."""
    id: str | None = None
    """Column of the row ids; the file name, tar key or row number when absent."""
    caption_index: CaptionChoice = 0
    """One caption, several joined, the first that is not empty, or all that are not, joined."""
    separator: str = " "
    """Stands between joined captions."""
    views: Mapping[ViewName, ViewConfig] = Field(default_factory=dict)
    """What each row can be observed as, by name. Absent: `image` and `text`, as the four keys above
    say. Changed views (`of`, `change`) alone are added to these two; where a view here has a column
    of its own, all views are named here. A row that is bad in one view is a bad row."""
    limit: PositiveInt | None = None
    """At most so many rows, after the shuffle."""
    shuffle: NonNegativeInt | None = None
    """Seed of the shuffle; absent: the order of the source."""
    deduplicate: bool | Literal["near"] = False
    """Drop every row that is the exact copy of an earlier one in any view that is no change of
    another; `near`: also those whose image is nearly an earlier one's (64-bit perceptual hash, at
    most 2 bits apart)."""
    on_bad_row: Literal["error", "drop"] = "error"
    """A broken image or an empty caption: stop, or drop the row and list it in run.json."""
    files_anywhere: bool = False
    """Whether a captions file, or a cell of a table, may name files outside its own folder, by an
    absolute path or through `..`. Links are followed either way."""

    @property
    def observed(self) -> dict[str, ObservedView]:
        """The views that the source has, by name; each with its kind and columns filled in."""
        named = {n: v for n, v in self.views.items() if isinstance(v, ObservedView)}
        if not named:
            pair = {"image": ObservedView(column=self.image)}
            if self.text and self.source != "deadleaves":
                captions = ObservedView(
                    column=self.text, captions=self.caption_index, separator=self.separator
                )
                pair["text"] = captions
            named = pair
        return {
            name: view.model_copy(update={"kind": view.kind or name, "column": view.column or name})
            for name, view in named.items()
        }

    @property
    def changed(self) -> dict[str, Change]:
        """The views that are changes of others, each after the one that it changes."""
        left = {n: v for n, v in self.views.items() if isinstance(v, Change)}
        ordered: dict[str, Change] = {}
        while left:
            known = {*self.observed, *ordered}
            ready = {name: view for name, view in left.items() if view.of in known}
            assert ready, "checked when the file was read"
            ordered |= ready
            left = {name: view for name, view in left.items() if name not in ready}
        return ordered

    @property
    def kinds(self) -> dict[str, KindName]:
        """The kind of each view."""
        kinds: dict[str, KindName] = {}
        for name, view in self.observed.items():
            assert view.kind is not None
            kinds[name] = view.kind
        for name, change in self.changed.items():
            kinds[name] = kinds[change.of]
        return kinds

    def observed_of(self, view: str) -> str:
        """The view from which this one comes, through however many changes."""
        while view in self.changed:
            view = self.changed[view].of
        return view

    def alone(self, view: str) -> "DatasetConfig":
        """The same rows with this view of them only, which the source must have."""
        without = {name: type(self).model_fields[name].default for name in PAIR}
        return self.model_copy(update=without | {"views": {view: self.observed[view]}})

    @model_validator(mode="before")
    @classmethod
    def _variants_are_views(cls, settings: Any) -> Any:
        refuse_variants(settings)
        return settings

    @model_validator(mode="after")
    def _a_world_needs_its_source(self) -> "DatasetConfig":
        for key, source in (("world", "toyworld"), ("leaves", "deadleaves")):
            if key in self.model_fields_set and self.source != source:
                raise ValueError(f"`{key}` has no effect with `source: {self.source}`; delete it")
        return self

    @model_validator(mode="after")
    def _dead_leaves_are_images(self) -> "DatasetConfig":
        if self.source != "deadleaves":
            return self
        if idle := idle_settings(self, PAIR[1:], ()):
            raise ValueError(f"`{idle[0]}` has no effect with `source: deadleaves`; delete it")
        named = {n: v for n, v in self.views.items() if isinstance(v, ObservedView)}
        for name, view in named.items():
            if (view.kind or name) != "image" or view.column:
                raise ValueError(
                    f"views: {name!r}: a picture of dead leaves is an image without a `column` "
                    "(`image: {}`); it has no text, and no other kind"
                )
        return self

    @model_validator(mode="after")
    def _views_are_of_some_kind(self) -> "DatasetConfig":
        named = {n: v for n, v in self.views.items() if isinstance(v, ObservedView)}
        for name, view in named.items():
            if view.kind is None and name not in KIND_NAMES and name not in plugin_names("kinds"):
                names = ", ".join([*KIND_NAMES, *plugin_names("kinds")])
                raise ValueError(f"views: {name!r} needs a `kind`: {names}")
            _refuse_idle(name, view, self.source)
        if named and (idle := idle_settings(self, PAIR, ())):
            raise ValueError(
                f"`{idle[0]}` has no effect, since `views` names all there is to see: say it there "
                f"(views: {{{_in_views(idle[0])}}})"
            )
        return self

    @model_validator(mode="after")
    def _changes_change_something(self) -> "DatasetConfig":
        changes: dict[str, Change] = {
            name: view for name, view in self.views.items() if isinstance(view, Change)
        }
        known = {*self.observed, *changes}
        for name, change in changes.items():
            if name in self.observed:
                raise ValueError(f"views: {name!r} is there already; call the change otherwise")
            if change.of not in known:
                raise ValueError(
                    f"views: {name!r} is a change of {change.of!r}, which is no view."
                    f"{nearest(change.of, known)} There are: {', '.join(sorted(known - {name}))}"
                )
            seen = [name]
            while seen[-1] in changes:
                seen.append(changes[seen[-1]].of)
                if seen[-1] in seen[:-1]:
                    raise ValueError(f"views: {' of '.join(map(repr, seen))}: a circle")
        kinds = self.kinds
        for name, change in self.changed.items():
            if change.kind != kinds[name]:
                fitting = [n for n, c in CHANGES.items() if c.kind == kinds[name]]
                raise ValueError(
                    f"views: {name!r} makes the {change.kind} change `{change.change}` of "
                    f"{change.of!r}, whose kind is {kinds[name]}. Changes of that kind: "
                    f"{', '.join(fitting) or 'none'}"
                )
        return self

    @model_serializer(mode="wrap")
    def _say_nothing_of_what_is_not_used(self, handler: Any) -> dict[str, Any]:
        """No settings of later versions that are not used, and not the short form beside views."""
        settings: dict[str, Any] = handler(self)
        unused = {name for name in ("views", "files_anywhere") if not getattr(self, name)}
        unused |= set() if self.source == "deadleaves" else {"leaves"}
        if any(isinstance(view, ObservedView) for view in self.views.values()):
            unused |= set(PAIR)
        return {key: value for key, value in settings.items() if key not in unused}


def _refuse_idle(name: str, view: ObservedView, source: str) -> None:
    kind = view.kind or name
    if kind != "text" and (idle := idle_settings(view, ONLY_TEXTS_HAVE, ())):
        raise ValueError(f"views: `{idle[0]}` means nothing to {name!r}, whose kind is {kind}")
    if kind != "text" and len(view.columns) > 1:
        raise ValueError(
            f"views: {name!r} names {len(view.columns)} columns; only texts are joined from "
            "several. Make each a view of its own"
        )
    toy = source == "toyworld"
    if toy and kind == "array":
        raise ValueError(
            f"views: {name!r} is of kind array, and a scene of the toy world has none. Its true "
            "attributes come as a model (`modality: truth`)"
        )
    of_captions = ("column", "captions", "separator", "order")
    if toy and (idle := idle_settings(view, of_captions, ())):
        raise ValueError(
            f"views: `{idle[0]}` of {name!r} has no effect, since a scene of the toy world has one "
            "caption, of a `level`"
        )
    if not toy and view.level is not None:
        raise ValueError(
            f"views: `level` of {name!r} has no effect with `source: {source}`; choose among "
            "`captions`"
        )
    if not toy and view.again:
        raise ValueError(
            f"views: `again` of {name!r} has no effect with `source: {source}`; name the "
            "`column` of the other observation"
        )


def _in_views(key: str) -> str:
    return "image: {column: ...}" if key == "image" else "text: {column: ..., captions: ...}"
