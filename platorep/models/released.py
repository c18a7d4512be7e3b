"""Feature files that the released code of arXiv:2405.07987 has saved."""

import re
import zipfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.arrays import EXACT_IN_FLOAT32, as_features, as_float32, refuse_inflated
from platorep.errors import AbsentError, IntegrityError, PlatorepError


def read_released(path: Path) -> Float[Tensor, "n l d"]:
    """The tensor `feats` of such a `.pt` file, as float32. Never runs code from the file.

    Raises:
        AbsentError: there is no such file.
        IntegrityError: it is not a dictionary with `feats` of three axes, holds other objects
            than tensors and plain values, or would take much more memory than the file.
    """
    if not path.is_file():
        raise AbsentError(f"no feature file {path}. Check the path.")
    try:
        if zipfile.is_zipfile(path):
            refuse_inflated(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PlatorepError:
        raise
    except Exception as error:  # whatever the loader makes of a file that is not what it says
        raise IntegrityError(
            f"{path} cannot be read as tensors only: {first_sentence(error)} Save it again with "
            "torch.save({'feats': tensor}, path)."
        ) from error
    feats = content.get("feats") if isinstance(content, dict) else None
    if not isinstance(feats, Tensor) or feats.ndim != 3:
        keys = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        shape = f" of shape {tuple(feats.shape)}" if isinstance(feats, Tensor) else ""
        raise IntegrityError(
            f"{path}: expected a dictionary with `feats`, N x L x D; it holds {keys}{shape}."
        )
    if feats.layout == torch.strided and feats.nbytes > feats.untyped_storage().nbytes():
        raise IntegrityError(
            f"{path}: `feats` of shape {tuple(feats.shape)} is a tensor of "
            f"{feats.untyped_storage().nbytes()} bytes, expanded to {feats.nbytes}. Save "
            "feats.clone()."
        )
    name = f"`feats` of {path}"
    return as_float32(as_features(feats, name, largest=EXACT_IN_FLOAT32), name)


def first_sentence(error: Exception) -> str:
    """As much of another library's message as helps; its name where it has none."""
    sentence = re.split(r"(?<=\.)\s", str(error).strip())[0][:200]
    return f"{sentence.rstrip('.') or type(error).__name__}."
