"""Where a bundle is: a folder, an archive, or a dataset repository on the hub."""

import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub

from platorep.bundles.about import CURE, MAX_JSON, About, read_about
from platorep.bundles.archives import unpacked
from platorep.bundles.checking import (
    checked_folder,
    limits,
    refuse_bad_content,
    refuse_other_file,
    refuse_too_large,
)
from platorep.bundles.lists import BundledLists
from platorep.config.paths import ABOUT, HUB
from platorep.errors import AbsentError, ConfigError, DamagedError, IntegrityError
from platorep.files import expanded, sha256_file
from platorep.hub import hub_errors, is_offline, repository_info

_REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle on this machine, all files of which are what it lists."""

    folder: Path
    about: About
    source: str
    """As it was asked for."""
    revision: str | None = None
    """The commit, of one from the hub."""

    @property
    def digest(self) -> str:
        """SHA-256 of bundle.json, which lists the checksums of all else."""
        return sha256_file(self.folder / ABOUT)

    @property
    def has_features(self) -> bool:
        return self.about.features == "all"

    def lists(self, label: str) -> BundledLists:
        """The neighbor lists of a model.

        Raises:
            AbsentError: it has none here.
        """
        for lists in self.about.neighbors:
            if lists.label == label:
                return BundledLists(self.folder / lists.file)
        raise AbsentError(f"{self.source} holds no neighbors of {label}.")


def find_bundle(name: str | Path, revision: str | None = None) -> Bundle:
    """A bundle by its folder, archive, or name on the hub, after every file of it was checked.

    Args:
        name: A path; or `user/name` of a dataset repository (with or without `hub:` before it), and
            `@revision` behind it.
        revision: Branch, tag or commit on the hub.

    Raises:
        AbsentError: there is none, or the hub is not to be had.
        DamagedError, IntegrityError: it is not what it lists, or holds what no bundle does.
        ConfigError: a revision of what is not on the hub.
    """
    path, said = expanded(name), str(name)
    if not said.startswith(HUB) and path.exists():
        if revision is not None:
            raise ConfigError(f"{name} is a file or folder, which has no revision {revision!r}.")
        folder, about = (path, checked_folder(path, said)) if path.is_dir() else unpacked(path)
        return Bundle(folder=folder, about=about, source=said)
    match = _REPOSITORY.fullmatch(said.removeprefix(HUB))
    if match is None or path.suffix == ".zip":
        raise AbsentError(
            f"there is no bundle {said}: neither a folder or archive (*.zip) of this name, nor a "
            "repository on the hub, which is written hub:user/name or hub:user/name@revision."
        )
    return _from_hub(match["name"], revision or match["revision"], said)


def _from_hub(name: str, revision: str | None, said: str) -> Bundle:
    """Only what bundle.json lists is downloaded, after its sizes were seen to be as listed."""
    offline = is_offline()
    with hub_errors(name, revision, "dataset"):
        sizes: dict[str, int] = {}
        if not offline:
            info = repository_info(name, revision, "dataset")
            sizes = {file.rfilename: file.size for file in info.siblings}
            if ABOUT not in sizes:
                raise IntegrityError(f"hub dataset {name!r} is no bundle: it has no {ABOUT}.")
            if sizes[ABOUT] > MAX_JSON:
                raise IntegrityError(f"{said}: {ABOUT} has more than {MAX_JSON} bytes. {CURE}")
        found = Path(
            huggingface_hub.hf_hub_download(
                name, ABOUT, repo_type="dataset", revision=revision, local_files_only=offline
            )
        )
        about, folder = read_about(found, said), found.parent
        refuse_too_large(about, said, limits())
        for file in about.files if sizes else ():
            if sizes.get(file.path) != file.size:
                raise DamagedError(
                    f"{said}: {file.path} has {sizes.get(file.path)} bytes on the hub, expected "
                    f"{file.size}. {CURE}"
                )
        for file in about.files:
            huggingface_hub.hf_hub_download(
                name, file.path, repo_type="dataset", revision=folder.name, local_files_only=offline
            )
    for file in about.files:
        refuse_other_file(folder / file.path, file, said)
        refuse_bad_content(folder / file.path, said)
    return Bundle(folder=folder, about=about, source=said, revision=folder.name)
