"""Files of a hub repository: which there are, at which commit, and bringing them here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from platorep.errors import AbsentError
from platorep.files import storage_errors
from platorep.hub import (
    TRANSPORT_ERRORS,
    hub_errors,
    is_offline,
    repository_info,
    say_once,
    verify_blob,
    what_went_wrong,
)


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
            IntegrityError: a file is not what its name in the cache says.
            StorageError: the hub cache cannot be written.
        """
        folder = Path()
        for name in names:
            with (
                hub_errors(self.name, self.revision, "model"),
                storage_errors(Path(constants.HF_HUB_CACHE)),
            ):
                # By branch rather than commit, so that the cache learns what the branch is.
                path = hf_hub_download(
                    self.name, name, revision=self.revision, local_files_only=self.offline
                )
            verify_blob(Path(path))
            folder = Path(path).parents[len(Path(name).parts) - 1]
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
    with hub_errors(name, revision, "model"):
        failure = None
        if not (offline or is_offline()):
            try:
                info = repository_info(name, revision, "model")
            except (RepositoryNotFoundError, RevisionNotFoundError):
                raise
            except TRANSPORT_ERRORS as error:
                failure = error  # see what the cache has
            else:
                return Repository(
                    name=name,
                    revision=revision,
                    commit=str(info.sha),
                    sizes={file.rfilename: file.size for file in info.siblings or ()},
                    offline=False,
                )
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            raise HFValidationError(name)
        folder = _cached_snapshot(name, revision)
        if folder is None:
            raise failure or LocalEntryNotFoundError(f"no snapshot of {name} at {revision}")
        if failure is not None:
            why = what_went_wrong(failure)
            say_once(f"warning: {name} is taken from the local cache, commit {folder.name}: {why}")
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
