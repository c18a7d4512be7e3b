"""Files of a hub repository: which there are, at which commit, and bringing them here."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from platorep.errors import AbsentError
from platorep.files import storage_errors

FETCH_FIRST = (
    "Run `platorep extract CONFIG --download-only` on a machine with network (same HF_HOME), "
    "then this command again."
)


TRANSPORT_ERRORS: tuple[type[BaseException], ...] = (HfHubHTTPError.__bases__[0], OSError)
"""What the HTTP client raises, whichever it is, when the hub cannot be reached."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A hub repository at one commit."""

    name: str
    revision: str
    """Branch, tag or commit as asked for."""
    commit: str
    """What it stands for now."""
    sizes: dict[str, int | None]
    """Its files and their bytes; offline those in the cache."""
    offline: bool

    def download(self, names: Iterable[str]) -> Path:
        """The local snapshot folder, with `names` in it.

        Raises:
            AbsentError: a file is neither in the cache nor to be had, or the branch has moved.
            StorageError: the hub cache cannot be written.
        """
        folder = Path()
        for name in names:
            with _absences(self.name, self.revision), storage_errors(Path(constants.HF_HUB_CACHE)):
                # By branch rather than commit, so that the cache learns what the branch is.
                found = hf_hub_download(
                    self.name, name, revision=self.revision, local_files_only=self.offline
                )
            folder = Path(found).parents[len(Path(name).parts) - 1]
            if folder.name != self.commit:
                raise AbsentError(
                    f"hub repository {self.name!r} moved from commit {self.commit} to "
                    f"{folder.name} while it was downloaded. Run the same command again."
                )
        return folder

    def missing_bytes(self, names: Iterable[str]) -> int | None:
        """Bytes of `names` that are not in the local cache; None if the hub does not say."""
        sizes = [
            self.sizes.get(name)
            for name in names
            if not isinstance(try_to_load_from_cache(self.name, name, revision=self.commit), str)
        ]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


def open_repository(name: str, revision: str | None, *, offline: bool) -> Repository:
    """Resolve `revision` (the branch main when None) to a commit and list the files.

    Where the hub cannot be reached, what is in the cache stands for it.

    Raises:
        AbsentError: no such repository or revision, no access, or offline and not in the cache.
    """
    revision = revision or constants.DEFAULT_REVISION
    if not (offline or constants.HF_HUB_OFFLINE):
        with _absences(name, revision):
            try:
                info = HfApi().model_info(name, revision=revision, files_metadata=True)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                raise
            except TRANSPORT_ERRORS:
                pass  # see what the cache has
            else:
                return Repository(
                    name=name,
                    revision=revision,
                    commit=str(info.sha),
                    sizes={file.rfilename: file.size for file in info.siblings or ()},
                    offline=False,
                )
    with _absences(name, revision):
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            raise HFValidationError(name)
        folder = _cached_snapshot(name, revision)
        if folder is None:
            raise LocalEntryNotFoundError(f"no snapshot of {name} at {revision}")
    sizes: dict[str, int | None] = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Repository(name=name, revision=revision, commit=folder.name, sizes=sizes, offline=True)


def _cached_snapshot(name: str, revision: str) -> Path | None:
    """The folder of `revision` in the hub cache, whose layout huggingface_hub documents."""
    repository = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text(encoding="utf-8") if reference.is_file() else revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


@contextmanager
def _absences(name: str, revision: str | None) -> Iterator[None]:
    """Say what to do when the hub does not give what is asked for."""
    which = f"{name!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        yield
    except GatedRepoError as error:
        raise AbsentError(
            f"hub repository {which} is gated. Ask for access at https://huggingface.co/{name}, "
            "then set HF_TOKEN (or run `hf auth login`)."
        ) from error
    except RevisionNotFoundError as error:
        raise AbsentError(
            f"hub repository {name!r} has no revision {revision!r}. Look at "
            f"https://huggingface.co/{name} for its branches, tags and commits."
        ) from error
    except RepositoryNotFoundError as error:
        raise AbsentError(
            f"no hub repository {which}, or it is private. Check the name; for a private one set "
            "HF_TOKEN."
        ) from error
    except HFValidationError as error:
        raise AbsentError(
            f"{name!r} is neither a local folder that exists nor a hub identifier (owner/name). "
            "Relative paths are taken from the folder of the experiment file."
        ) from error
    except LocalEntryNotFoundError as error:
        raise AbsentError(
            f"hub repository {which} is not, or not whole, in the local cache "
            f"({constants.HF_HUB_CACHE}) and nothing may be, or can be, downloaded. {FETCH_FIRST}"
        ) from error
    except EntryNotFoundError as error:
        raise AbsentError(f"hub repository {which} lacks a file: {error}") from error
    except HfHubHTTPError as error:
        raise AbsentError(f"the hub did not give {which}: {error}. Try again later.") from error
