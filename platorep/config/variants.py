"""`dataset.variants` of version 0.1.0: refused, with the text that takes its place."""

import json
from collections.abc import Mapping
from typing import Any


def refuse_variants(dataset: Any) -> None:
    """Raise a ValueError with the views that a dataset's `variants` have become."""
    if not isinstance(dataset, Mapping) or not isinstance(dataset.get("variants"), list):
        return
    variants = [entry for entry in dataset["variants"] if isinstance(entry, Mapping)]
    if not variants:
        return  # an unknown key
    toy = dataset.get("source") == "toyworld"
    image = {} if toy else {"column": dataset.get("image", "image")}
    lines = ["views:", f"  image: {_yaml(image)}"]
    for entry in variants:
        lines += (f"  {line}" for line in _as_views(entry, dataset, toy))
    names = _yaml([str(entry.get("name")) for entry in variants])
    raise ValueError(
        "`variants` are views now. Put this in their place (and leave out image, text, "
        "caption_index, separator):\n"
        + "\n".join(f"      {line}" for line in lines)
        + f"\n    and into each language family:\n      reads: {names}"
        "\n    A density figure's `variants` are its `views`."
    )


def _as_views(entry: Mapping[str, Any], dataset: Mapping[str, Any], toy: bool) -> list[str]:
    """The view of a variant, or two of them where its text was cut."""
    name = str(entry.get("name"))
    words = entry.get("max_words")
    view: dict[str, Any] = {"kind": "text"}
    if toy:
        view |= {"level": entry["caption_level"]} if "caption_level" in entry else {}
    else:
        view["column"] = dataset.get("text", "text")
        view["captions"] = entry.get("caption_index", dataset.get("caption_index", 0))
        view |= {key: entry[key] for key in ("order",) if key in entry}
        view |= {key: dataset[key] for key in ("separator",) if key in dataset}
    if words is None:
        return [f"{_yaml(name)}: {_yaml(view)}"]
    change = {"of": f"{name}, whole", "change": "first_words", "n": words}
    return [f"{_yaml(change['of'])}: {_yaml(view)}", f"{_yaml(name)}: {_yaml(change)}"]


def _yaml(value: Any) -> str:
    """On one line; JSON is YAML, and keys need no quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
