"""PEFT adapters (LoRA and its like): applied when asked for, named in the key, merged into weights.

transformers applies an adapter that lies beside the weights where `peft` is installed, and nothing
where it is not. Here the setting `adapter` decides, and nothing else.
"""

import warnings
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.models.hub import Repository, open_repository
from platorep.models.sources import ADAPTER_CONFIG, file_hash

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


class Adapter:
    """What `adapter` names: a local folder, or a hub repository."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        assert spec.adapter is not None
        self._spec, self._name, self._offline = spec, spec.adapter, offline

    def identity(self) -> dict[str, Any]:
        """What names the files' content, as JSON."""
        if self._repository is not None:
            return {"name": self._name, "revision": self._repository.commit}
        folder = Path(self._name)
        return {"files": {name: file_hash(folder / name) for name in self._files}}

    def folder(self) -> Path:
        """The local folder with the adapter's files."""
        if self._repository is not None:
            return self._repository.download(self._files)
        assert self._files
        return Path(self._name)

    def apply(self, network: Any) -> None:
        """Merge the adapter into the weights of a network with its head, or of the body in it.

        Raises:
            AbsentError: `peft` is not installed.
            ConfigError: it is of a kind that is no change of weights.
            IntegrityError: it does not fit the network.
        """
        need_peft(self._spec)
        with warnings.catch_warnings():  # of how peft uses transformers, which no user can mend
            warnings.simplefilter("ignore", FutureWarning)
            self._merge(network)

    def _merge(self, network: Any) -> None:
        import peft

        folder = str(self.folder())
        config = peft.PeftConfig.from_pretrained(folder)
        state = peft.load_peft_weights(folder, device="cpu")
        body = f"base_model.model.{network.base_model_prefix}."
        no_weights = ConfigError(
            f"model {self._spec.label!r}: the adapter {self._name!r} ({config.peft_type}) is no "
            "change of weights, so it cannot be merged into them. Compute its features yourself "
            "(`backend: features`)."
        )
        if config.is_prompt_learning:
            raise no_weights
        has_head = any(key.startswith(body) for key in state)
        tuned: Any = peft.get_peft_model(network if has_head else network.base_model, config)
        if not hasattr(tuned.base_model, "merge_and_unload"):
            raise no_weights
        expected = set(peft.get_peft_model_state_dict(tuned, save_embedding_layers=False))
        unfit = peft.set_peft_model_state_dict(tuned, state).unexpected_keys
        if lost := sorted({*unfit, *(expected - set(state))}):
            raise IntegrityError(
                f"the adapter {self._name!r} does not fit {type(network).__name__} of "
                f"{self._spec.name!r}: {len(lost)} parameters have no counterpart, first "
                f"{lost[0]!r}. Use the base model that it was made for."
            )
        tuned.merge_and_unload()

    @cached_property
    def _repository(self) -> Repository | None:
        if Path(self._name).is_dir():
            return None
        return open_repository(self._name, None, offline=self._offline)

    @cached_property
    def _files(self) -> list[str]:
        if self._repository is not None:
            names = set(self._repository.sizes)
        else:
            names = {path.name for path in Path(self._name).iterdir()}
        weights = [name for name in WEIGHTS if name in names][:1]
        if ADAPTER_CONFIG not in names or not weights:
            raise AbsentError(
                f"model {self._spec.label!r}: {self._name} is no adapter of peft. Expected "
                f"{ADAPTER_CONFIG} and {' or '.join(WEIGHTS)}; found "
                f"{', '.join(sorted(names)) or 'nothing'}."
            )
        return [ADAPTER_CONFIG, *weights]


def open_adapter(spec: ModelSpec, *, offline: bool) -> Adapter | None:
    """What `adapter` names, if it is set; nothing is loaded or downloaded yet."""
    return None if spec.adapter is None else Adapter(spec, offline=offline)


def need_peft(spec: ModelSpec) -> None:
    """Raise an AbsentError if the package that `adapter` needs is not installed."""
    if find_spec("peft") is None:
        raise AbsentError(
            f"model {spec.label!r}: `adapter` needs the package peft, which is not installed. "
            "`pip install peft`, or leave `adapter` out."
        )


def class_with_head(config: Any, spec: ModelSpec) -> Any:
    """The class that the checkpoint was saved from: what an adapter is made for.

    Raises:
        ConfigError: transformers has no such class.
    """
    names = config.architectures or ["none that is named"]
    found = getattr(transformers, names[0], None)
    if found is None:
        raise ConfigError(
            f"model {spec.label!r}: `adapter` needs an architecture of transformers; the "
            f"configuration names {names[0]}."
        )
    return found
