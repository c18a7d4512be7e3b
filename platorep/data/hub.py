"""A dataset repository on the Hugging Face Hub, or a local folder laid out like one.

`datasets` works out which files make up a split. Its own offline mode serves whatever revision was
loaded last, so what a revision consists of is kept here, in a small JSON file, and the files are
taken from the hub cache (HF_HOME) by their commit.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from platorep.data.tables import Part
from platorep.errors import AbsentError, ConfigError, nearest
from platorep.files import cache_root, digest, slug, write_json

_HTTPError: type[BaseException] = HfHubHTTPError.__mro__[1]
"""The base of what the hub's HTTP library raises: httpx or httpx2, as the version has it."""
_HUB_FILE = re.compile(r"hf://datasets/(?P<repo>.+?)@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Which files are one split of one revision."""

    source: str
    subset: str | None
    split: str
    commit: str | None
    """None for a local folder."""
    builder: str
    """The module of `datasets` that reads the files: parquet, webdataset, imagefolder, ..."""
    files: tuple[str, ...]
    """Paths in the repository, or local paths; in the order of the rows."""

    def paths(self, *, offline: bool) -> Iterator[Path]:
        """The files on this machine, one after another, each downloaded when its turn comes."""
        for file in self.files:
            if self.commit is None:
                yield Path(file)
                continue
            with hub_errors(self.source, self.commit):
                path = huggingface_hub.hf_hub_download(
                    self.source,
                    file,
                    repo_type="dataset",
                    revision=self.commit,
                    local_files_only=offline,
                )
            yield Path(path)

    def parts(self, *, offline: bool) -> Iterator[Part]:
        """The rows as tables: file by file where the format allows, else all at once."""
        if self.builder == "parquet":
            for path in self.paths(offline=offline):
                yield Part(read_parquet(path, self.split), str(path))
            return
        with hub_errors(self.source, self.commit):
            folder = self.source
            if offline and self.commit is not None:
                folder = _snapshot(self.source, self.commit)
            table = datasets.load_dataset(
                folder,
                self.subset,
                split=self.split,
                revision=None if offline else self.commit,
            )
        yield Part(table, self.source)


def read_parquet(path: Path, split: str) -> datasets.Dataset:
    return datasets.load_dataset("parquet", data_files={split: [str(path)]}, split=split)


def find_repository(
    source: str, *, subset: str | None, revision: str | None, split: str, offline: bool
) -> Repository:
    """Look up the files of a split; the branch or tag is resolved to a commit.

    Raises:
        AbsentError: the hub cannot be reached, or has no such dataset or revision; or, offline,
            it has not been downloaded.
        ConfigError: there is no such subset or split.
    """
    if Path(source).is_dir():
        return _look_up(source, source, subset, None, split)
    known = (
        cache_root() / "hub" / slug(source) / f"{digest([source, subset, revision, split])}.json"
    )
    with hub_errors(source, revision):
        if not offline:
            found = _look_up(source, source, subset, revision, split)
            write_json(known, asdict(found))
            return found
        if known.is_file():
            fields = json.loads(known.read_text(encoding="utf-8"))
            return Repository(**{**fields, "files": tuple(fields["files"])})
        return _look_up(_snapshot(source, revision), source, subset, None, split)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return bool(huggingface_hub.constants.HF_HUB_OFFLINE)


def _snapshot(source: str, revision: str | None) -> str:
    return huggingface_hub.snapshot_download(
        source, repo_type="dataset", revision=revision, local_files_only=True
    )


def _look_up(
    place: str, source: str, subset: str | None, revision: str | None, split: str
) -> Repository:
    try:
        builder = datasets.load_dataset_builder(place, subset, revision=revision)
    except datasets.exceptions.DataFilesNotFoundError as error:
        raise AbsentError(f"{source} holds no data files that `datasets` can read.") from error
    except ValueError as error:
        if "config" not in str(error).lower():
            raise
        raise ConfigError(f"dataset.subset {subset!r} of {source}: {error}") from error
    splits = {str(name): list(files) for name, files in builder.config.data_files.items()}
    if split not in splits:
        raise ConfigError(
            f"{source} has no split {split!r} (dataset.split).{nearest(split, splits)} "
            f"Splits: {', '.join(splits)}."
        )
    matches = [_HUB_FILE.fullmatch(file) for file in splits[split]]
    commits = {match["commit"] for match in matches if match}
    commit = next(iter(commits)) if len(commits) == 1 and all(matches) else None
    snapshot = re.search(r"/snapshots/([0-9a-f]{40})$", place)
    if snapshot:
        commit = snapshot[1]
    return Repository(
        source=source,
        subset=subset,
        split=split,
        commit=commit,
        builder=type(builder).__module__.rsplit(".", 1)[-1],
        files=tuple(
            match["path"]
            if match
            else Path(file).relative_to(place).as_posix()
            if snapshot
            else file
            for file, match in zip(splits[split], matches, strict=True)
        ),
    )


@contextmanager
def hub_errors(source: str, revision: str | None) -> Iterator[None]:
    """Turn the hub libraries' errors into `AbsentError` with what to do next."""
    name = source if revision is None else f"{source} at revision {revision!r}"
    page = f"https://huggingface.co/datasets/{source}"
    try:
        yield
    except GatedRepoError as error:
        raise AbsentError(
            f"{name} is gated. Ask for access at {page}, then set HF_TOKEN or run `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise AbsentError(f"{source} has no revision {revision!r}. See {page}/refs.") from error
    except (RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        raise AbsentError(
            f"{name} is neither a folder here nor a dataset on the hub that you may read. {error} "
            "Check the name; for a private or gated one set HF_TOKEN or run `hf auth login`."
        ) from error
    except HFValidationError as error:
        raise AbsentError(f"{source} is neither a folder here nor a hub name: {error}") from error
    except (LocalEntryNotFoundError, EntryNotFoundError) as error:
        raise AbsentError(
            f"{name} is not, or not wholly, in the hub cache "
            f"{huggingface_hub.constants.HF_HUB_CACHE} and may not be downloaded now. Run "
            "`platorep extract --download-only` with this config once where the hub can be reached."
        ) from error
    except (ConnectionError, _HTTPError) as error:
        raise AbsentError(
            f"{name}: the hub cannot be reached ({type(error).__name__}: {error}). If it was "
            "downloaded before, run again with --offline."
        ) from error
