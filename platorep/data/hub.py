"""A dataset repository on the Hugging Face Hub, or a local folder laid out like one.

`datasets` works out which files make up a split, and reads them. Its own offline mode serves the
revision that was loaded last, whichever was asked for; so what a revision consists of is noted
here, in a small JSON file, and the files are taken from the hub cache (HF_HOME) by commit.
"""

import glob
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import huggingface_hub

from platorep.errors import AbsentError, ConfigError, nearest
from platorep.files import cache_root, digest, read_sealed, slug, write_sealed
from platorep.hub import hub_errors, repository_info, verify_blob

_HUB_FILE = re.compile(r"hf://datasets/.+?@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Which files one revision of a dataset consists of."""

    source: str
    subset: str | None
    commit: str | None
    """None for a local folder."""
    builder: str
    """The module of `datasets` that reads the files: parquet, webdataset, imagefolder, ..."""
    splits: dict[str, list[str]]
    """Paths in the repository, or local paths; in the order of the rows."""

    def paths(self, split: str, *, offline: bool) -> Iterator[Path]:
        """A split's files on this machine; each is downloaded when its turn comes."""
        for file in self.splits[split]:
            if self.commit is None:
                yield Path(file)
                continue
            with hub_errors(self.source, self.commit, "dataset"):
                path = huggingface_hub.hf_hub_download(
                    self.source,
                    file,
                    repo_type="dataset",
                    revision=self.commit,
                    local_files_only=offline,
                )
            verify_blob(Path(path))
            yield Path(path)


def find_repository(
    source: str, *, subset: str | None, revision: str | None, split: str, offline: bool
) -> Repository:
    """Look up the files of a revision; a branch or tag is resolved to a commit.

    Raises:
        AbsentError: the hub cannot be reached, or has no such dataset or revision; or, offline,
            it has not been downloaded.
        DamagedError: what was noted of it, for use offline, is not what was written.
        ConfigError: there is no such subset or split.
    """
    repository = _find(source, subset, revision, offline)
    if split not in repository.splits:
        raise ConfigError(
            f"{source} has no split {split!r} (dataset.split).{nearest(split, repository.splits)} "
            f"Splits: {', '.join(repository.splits)}."
        )
    return repository


def _find(source: str, subset: str | None, revision: str | None, offline: bool) -> Repository:
    if Path(source).is_dir():
        return _look_up(source, source, subset, None)
    notes = cache_root() / "hub" / slug(source)
    with hub_errors(source, revision, "dataset"):
        if not offline:
            # Asked once: `datasets` asks a hub that does not answer again and again.
            repository_info(source, revision, "dataset")
            repository = _look_up(source, source, subset, revision)
            for name in (revision, repository.commit):
                note = notes / f"{digest([subset, name])}.json"
                write_sealed(note, asdict(repository), of=source)
            return repository
        note = notes / f"{digest([subset, revision])}.json"
        if note.is_file():
            cure = "Run the command once where the hub can be reached, without --offline."
            return Repository(**read_sealed(note, of=source, cure=cure))
        # Not loaded here before, but perhaps fetched whole by `hf download`.
        folder = snapshot(source, revision)
        if any(Path(folder).name in other.read_text() for other in notes.glob("*.json")):
            raise AbsentError(
                f"{source}: subset {subset!r} of revision {revision!r} has not been downloaded. "
                "Run `platorep extract --download-only` once where the hub can be reached."
            )
        return _look_up(folder, source, subset, None)


def snapshot(source: str, revision: str | None) -> str:
    """The folder of the hub cache with the files of a revision."""
    return huggingface_hub.snapshot_download(
        source, repo_type="dataset", revision=revision, local_files_only=True
    )


def _look_up(where: str, source: str, subset: str | None, revision: str | None) -> Repository:
    """Ask `datasets`. `where` is the name on the hub, a folder, or a snapshot in the hub cache."""
    if Path(where).is_dir() and (
        glob.has_magic(full := str(Path(where).resolve())) or "::" in full
    ):
        raise ConfigError(
            f"{full} cannot be read as a folder laid out like a dataset on the hub: `datasets` "
            "takes the characters * ? [ ] :: of its name for a pattern. Name its files instead "
            "(dataset.source: FOLDER/*.parquet), or rename it."
        )
    import datasets

    try:
        builder = datasets.load_dataset_builder(where, subset, revision=revision)
    except ValueError as error:
        if "config" not in str(error).lower():
            raise
        raise ConfigError(f"dataset.subset {subset!r} of {source}: {error}") from error
    except RuntimeError as error:
        if "scripts" not in str(error):
            raise
        raise AbsentError(
            f"{source} is made by a program of its own, which `datasets` no longer runs. The hub "
            "may have converted it: try dataset.revision: refs/convert/parquet."
        ) from error
    except FileNotFoundError as error:
        if isinstance(error, datasets.exceptions.DatasetNotFoundError):
            raise
        raise AbsentError(
            f"{source}, revision {revision or 'main'!r}, holds no data files that `datasets` can "
            "read. They may be in another revision (dataset.revision)."
        ) from error
    commit = None
    splits: dict[str, list[str]] = {}
    for split, files in builder.config.data_files.items():
        for file in files:
            if match := _HUB_FILE.fullmatch(file):
                commit, file = match["commit"], match["path"]
            elif where != source:  # a snapshot, whose folder is named by the commit
                commit, file = Path(where).name, _within(file, where)
            splits.setdefault(str(split), []).append(file)
    return Repository(
        source=source,
        subset=subset,
        commit=commit,
        builder=type(builder).__module__.rsplit(".", 1)[-1],
        splits=splits,
    )


def _within(file: str, folder: str) -> str:
    return Path(file).relative_to(Path(folder).resolve()).as_posix()
