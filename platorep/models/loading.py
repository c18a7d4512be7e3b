"""Loading with transformers: quietly, and with errors that a user can act on."""

import contextlib
import pickle
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, IntegrityError, PlatorepError
from platorep.models.sources import gguf_argument

LOOKS_AT_NUMBERS = (RuntimeError, NotImplementedError)
"""How a network without memory fails that looks at numbers, and would not with them."""


def read_config(folder: Path, spec: ModelSpec, *, offline: bool) -> Any:
    """The configuration of a model, with outputs by name and no more of them than are asked for.

    A configuration may say otherwise (`return_dict: false`), for itself and for its parts.
    """
    with quiet(), as_own_errors(spec):
        config = transformers.AutoConfig.from_pretrained(
            folder,
            trust_remote_code=spec.trust_remote_code,
            local_files_only=offline,
            **gguf_argument(spec),
        )
    for part in (config, *_parts(config).values()):
        part.return_dict = True
        part.output_hidden_states = part.output_attentions = False
    return config


def read_tokenizer(folder: Path, spec: ModelSpec, *, offline: bool) -> Any:
    """The tokenizer of a model.

    Raises:
        AbsentError: a file that it needs is not there.
    """
    with quiet(), as_own_errors(spec):
        try:
            return transformers.AutoTokenizer.from_pretrained(
                folder,
                trust_remote_code=spec.trust_remote_code,
                local_files_only=offline,
                **gguf_argument(spec),
            )
        except TypeError as error:  # what transformers' classes say of a path that is None
            there = ", ".join(sorted(path.name for path in folder.iterdir()))
            raise AbsentError(
                f"the tokenizer of {spec.name!r} cannot be made ({error}): a file of it seems to "
                f"be missing. There are: {there}."
            ) from error


def lacking(network: Any, info: Mapping[str, Any]) -> list[str]:
    """The parameters that a checkpoint lacks and that would be random.

    Not those that the checkpoint's class leaves out when it saves, such as Marian's sinusoids:
    transformers computes them anew.

    Args:
        info: What `from_pretrained` says of the loading.
    """
    saved_by = (getattr(transformers, name, None) for name in network.config.architectures or ())
    classes = [type(network), *(one for one in saved_by if one is not None)]
    computed = {
        key.removeprefix(f"{one.base_model_prefix}.")
        for one in classes
        for key in one._keys_to_ignore_on_save or ()
    }
    prefix = f"{network.base_model_prefix}."
    return sorted(key for key in info["missing_keys"] if key.removeprefix(prefix) not in computed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and load reports of transformers: what they say becomes an error here."""
    logs = transformers.utils.logging
    verbosity, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(verbosity)
        if bars:
            logs.enable_progress_bar()


@contextlib.contextmanager
def as_own_errors(spec: ModelSpec) -> Iterator[None]:
    """Turn the refusals of transformers into errors of ours; anything else is a bug."""
    try:
        yield
    except PlatorepError:
        raise
    except ImportError as error:
        raise AbsentError(f"model {spec.name!r} needs a package: {error}") from error
    except pickle.UnpicklingError as error:
        raise IntegrityError(
            f"the .bin weights of {spec.name!r} hold more than tensors, and are not unpickled: "
            f"{error}"
        ) from error
    except safetensors.SafetensorError as error:
        raise IntegrityError(
            f"a .safetensors file of {spec.name!r} is damaged: {error}. Delete it and fetch it "
            "again."
        ) from error
    except (struct.error, IndexError, OverflowError) as error:
        if not gguf_argument(spec):
            raise
        raise IntegrityError(
            f"the GGUF file {spec.name} is damaged or cut: {error}. Download it again."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        if "pip install" in str(error):
            raise AbsentError(f"model {spec.name!r} needs a package: {error}") from error
        raise ConfigError(
            f"transformers {transformers.__version__} cannot open {spec.name!r}: {error}"
        ) from error
    except RuntimeError as error:
        if "size" not in str(error):
            raise
        raise IntegrityError(f"the weights of {spec.name!r} do not fit: {error}") from error


@contextlib.contextmanager
def failing(network: Any, spec: ModelSpec) -> Iterator[None]:
    """Turn a network's failure at a first sample into an error that one can act on."""
    try:
        yield
    except (PlatorepError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigError(
            f"model {spec.label!r}: {type(network).__name__} fails when it is given one sample of "
            f"kind {spec.kind} and nothing else, in {str(network.dtype).removeprefix('torch.')}: "
            f"{error}. Try `dtype: float32` or `attention: eager`, or compute its features "
            "yourself (`backend: features`)."
        ) from error


def _parts(config: Any) -> dict[str, Any]:
    """The configurations inside a configuration, by name."""
    names = getattr(config, "sub_configs", None) or {}
    found = {name: getattr(config, name, None) for name in names}
    return {
        name: part
        for name, part in found.items()
        if isinstance(part, transformers.PretrainedConfig)
    }
