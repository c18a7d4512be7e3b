"""Loading with transformers: quietly, and with errors that a user can act on."""

import contextlib
import pickle
from collections.abc import Iterator

import safetensors
import transformers

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, IntegrityError, PlatorepError


def need_accelerate(spec: ModelSpec) -> None:
    """Raise an AbsentError if the package that `device_map` needs is not installed."""
    if not transformers.utils.is_accelerate_available():
        raise AbsentError(
            f"model {spec.label!r}: `device_map` needs the package accelerate, which is not "
            "installed. `pip install accelerate`, or leave `device_map` out."
        )


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
