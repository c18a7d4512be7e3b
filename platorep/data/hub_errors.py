"""The hub libraries' many errors -> `AbsentError` with what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from platorep.errors import AbsentError

_HTTPError: type[BaseException] = HfHubHTTPError.__mro__[1]
"""The base of what the hub's HTTP library raises, whichever library its version uses."""


@contextmanager
def hub_errors(source: str, revision: str | None) -> Iterator[None]:
    """Name the dataset and the way out when the hub refuses it.

    Raises:
        AbsentError: gated, not found, not reachable, or not in the cache while offline.
    """
    name = source if revision is None else f"{source} at revision {revision!r}"
    page = f"https://huggingface.co/datasets/{source}"
    try:
        yield
    except (
        ConnectionError,
        EntryNotFoundError,
        HFValidationError,
        _HTTPError,
        datasets.exceptions.DatasetNotFoundError,
    ) as error:
        said = str(error)  # `datasets` drops the causes of its errors and keeps their words
        if isinstance(error, GatedRepoError) or "gated dataset" in said:
            raise AbsentError(
                f"{name} is gated. Ask for access at {page}, then set HF_TOKEN or run "
                "`hf auth login`."
            ) from error
        if isinstance(error, RevisionNotFoundError) or said.startswith("Revision"):
            raise AbsentError(
                f"{source} has no revision {revision!r}. Its branches and tags: {page}/refs"
            ) from error
        if isinstance(
            error,
            RepositoryNotFoundError | HFValidationError | datasets.exceptions.DatasetNotFoundError,
        ):
            raise AbsentError(
                f"{name} is neither a folder here nor a dataset on the hub that you may read. "
                "Check the name; for a private or gated one set HF_TOKEN or run `hf auth login`."
            ) from error
        if isinstance(error, EntryNotFoundError | OfflineModeIsEnabled):
            raise AbsentError(
                f"{name} is not, or not wholly, in the hub cache {constants.HF_HUB_CACHE} and may "
                "not be downloaded now. Run `platorep extract --download-only` with this config "
                "once where the hub can be reached."
            ) from error
        raise AbsentError(
            f"{name}: the hub cannot be reached ({type(error).__name__}: {error}). If it was "
            "downloaded before, run again with --offline."
        ) from error
