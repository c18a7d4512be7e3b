"""Feature files that the released code of arXiv:2405.07987 has saved."""

import pickle
import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import AbsentError, IntegrityError


def read_released(path: Path) -> Float[Tensor, "n l d"]:
    """The tensor `feats` of such a `.pt` file, as float32. Never runs code from the file.

    Raises:
        AbsentError: there is no such file.
        IntegrityError: it is not a dictionary with `feats` of three axes, or holds other objects
            than tensors and plain values.
    """
    if not path.is_file():
        raise AbsentError(f"no feature file {path}. Check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = re.split(r"(?<=\.)\s", str(error))[0]
        raise IntegrityError(
            f"{path} cannot be read as tensors only: {reason} Save it again with "
            "torch.save({'feats': tensor}, path)."
        ) from error
    feats = content.get("feats") if isinstance(content, dict) else None
    if not isinstance(feats, Tensor) or feats.ndim != 3:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        shape = f" of shape {tuple(feats.shape)}" if isinstance(feats, Tensor) else ""
        raise IntegrityError(
            f"{path}: expected a dictionary with `feats`, N x L x D; found {found}{shape}."
        )
    return feats.float()
