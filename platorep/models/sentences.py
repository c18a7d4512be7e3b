"""What a sentence-transformers folder says: how a text's tokens become its embedding.

The package itself is not needed: `modules.json` lists the steps (transformer, pooling,
normalisation), each with a `config.json` in a folder of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec
from platorep.errors import ConfigError, IntegrityError
from platorep.files import write_text
from platorep.models.sources import Source

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""How older folders say what newer ones call `pooling_mode`."""
POOLS = {"cls": "cls", "max": "max", "mean": "mean", "lasttoken": "last"}


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How `encode` makes one vector of a text; applied to every layer's states."""

    pool: str = "mean"
    normalize: bool = False
    longest: int | None = None
    """Most tokens of a text; `encode` would cut it there."""
    prompt: str = ""
    """What `encode` puts before every text."""

    def facts(self) -> dict[str, Any]:
        """What a key says of it, besides pool and prompt."""
        return {"normalize": True} if self.normalize else {}

    def write(self, folder: Path) -> None:
        """Say the same in a folder of one's own, where it says anything."""
        if self == Embedding():
            return
        mode = {pool: mode for mode, pool in POOLS.items()}[self.pool]
        steps = ["Transformer", "Pooling", *(["Normalize"] if self.normalize else [])]
        files: dict[str, Any] = {
            MODULES: [
                {"idx": i, "path": f"{i}_{step}" if i else "", "type": step}
                for i, step in enumerate(steps)
            ],
            "1_Pooling/config.json": {"pooling_mode": mode},
            TRANSFORMER: {"max_seq_length": self.longest},
            SETTINGS: {"prompts": {"own": self.prompt}, "default_prompt_name": "own"},
        }
        for name, content in files.items():
            write_text(folder / name, json.dumps(content))


def read_embedding(source: Source, spec: ModelSpec) -> Embedding | None:
    """What the folder of a model says; None where it is none of sentence-transformers.

    Raises:
        ConfigError: it has a step that cannot be applied to hidden states.
        IntegrityError: its files are not what the package writes.
    """
    steps = source.json_file(MODULES)
    if steps is None:
        return None
    if not isinstance(steps, list) or not all(isinstance(one, dict) for one in steps):
        raise IntegrityError(f"{MODULES} of {spec.name} is no list of modules {source.where}")
    kinds = [str(one.get("type")).rpartition(".")[2] for one in steps]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise _not_applied(spec, f"has the modules {', '.join(kinds)}; pooled states are what "
                           "Transformer, Pooling and Normalize make of them")  # fmt: skip
    if steps[0].get("path"):
        raise _not_applied(spec, f"has its transformer in the folder {steps[0]['path']!r}")
    pooling = _object(source, f"{steps[1].get('path')}/config.json", spec)
    transformer = source.json_file(TRANSFORMER) or {}
    if transformer.get("do_lower_case"):
        raise _not_applied(spec, "lowers the case of texts (`do_lower_case`), which a view with "
                           "`change: case` does")  # fmt: skip
    settings = source.json_file(SETTINGS) or {}
    prompts = settings.get("prompts") or {}
    prompt = prompts.get(settings.get("default_prompt_name"), "")
    if prompt and not pooling.get("include_prompt", True):
        raise _not_applied(spec, "leaves its prompt out of the pooling (`include_prompt: false`)")
    return Embedding(
        pool=_pool(pooling, spec),
        normalize=kinds[-1] == "Normalize",
        longest=transformer.get("max_seq_length"),
        prompt=prompt,
    )


def _pool(pooling: Mapping[str, Any], spec: ModelSpec) -> str:
    said: Any = pooling.get("pooling_mode")
    if said is None:
        said = [mode for flag, mode in FLAGS.items() if pooling.get(flag)] or "mean"
    modes: Sequence[str] = [said] if isinstance(said, str) else list(said)
    if len(modes) != 1 or modes[0] not in POOLS:
        raise _not_applied(spec, f"pools by {' and '.join(map(str, modes))}")
    return POOLS[modes[0]]


def _object(source: Source, name: str, spec: ModelSpec) -> dict[str, Any]:
    found = source.json_file(name)
    if not isinstance(found, dict):
        raise IntegrityError(
            f"{spec.name} lacks {name}, which {MODULES} names {source.where} Download it again, or "
            "set `pool` to take the hidden states as they are."
        )
    return found


def _not_applied(spec: ModelSpec, what: str) -> ConfigError:
    return ConfigError(
        f"model {spec.label!r}: the sentence-transformers folder {spec.name} {what}, and that is "
        "not applied here. Set `pool` (mean, cls or last) to take the transformer's hidden states "
        "as they are, or bring what `encode` returns as `backend: features`."
    )
