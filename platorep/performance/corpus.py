"""The text that models are measured on: cut once, so that all of them read the same."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from platorep.config import BitsPerByteConfig
from platorep.errors import ConfigError, DataError
from platorep.files import canonical_json, sha256
from platorep.parameters.section import idle_settings

WHERE = ("documents", "subset", "revision", "split", "text")
"""The settings that say where in a source the texts are."""
NOT_PLAIN = {".csv", ".gz", ".json", ".jsonl", ".tsv", ".xz", ".zip", ".zst"}


@dataclass(frozen=True)
class Corpus:
    """Documents, and where they are from."""

    documents: tuple[str, ...]
    source: str
    """For tables: the file or dataset, with the commit of a hub dataset."""

    @cached_property
    def num_bytes(self) -> int:
        """In UTF-8, the documents alone: nothing between them."""
        return sum(len(document.encode()) for document in self.documents)

    @cached_property
    def sha256(self) -> str:
        """Names these documents in this order."""
        return sha256(canonical_json(self.documents).encode())


def read_corpus(
    config: BitsPerByteConfig, captions: Sequence[str] | None = None, *, offline: bool = False
) -> Corpus:
    """Read documents until a limit of `config` is reached; blank ones are passed over.

    The document in which `limit_bytes` is reached is cut to it, at the last whole character.

    Args:
        captions: The experiment's texts, for `source: captions`.

    Raises:
        AbsentError: the source is not there.
        ConfigError: the source is of no kind that is read, or has no such column or split.
        DataError: a text is not UTF-8, or there is no text at all.
    """
    if not offline:
        from platorep.hub import is_offline  # with it comes a library that takes long

        offline = is_offline()
    texts, source = _open(config, captions, offline)
    documents = tuple(cut(texts, config.limit_documents, config.limit_bytes))
    if not documents:
        raise DataError(f"{source} holds no text to measure {config.name} on.")
    return Corpus(documents, source)


def cut(
    texts: Iterable[str | None], limit_documents: int | None, limit_bytes: int | None
) -> Iterator[str]:
    """The texts that are not blank, up to the limits; reads no further than it must."""
    bytes_left = sys.maxsize if limit_bytes is None else limit_bytes
    filled = (text for text in texts if text and text.strip())
    for text in itertools.islice(filled, limit_documents):
        encoded = text.encode()
        kept = encoded[:bytes_left].decode(errors="ignore")
        if kept.strip():
            yield kept
        bytes_left -= len(encoded)
        if bytes_left <= 0:
            return


def _open(
    config: BitsPerByteConfig, captions: Sequence[str] | None, offline: bool
) -> tuple[Iterable[str | None], str]:
    path = Path(config.source)
    _refuse_idle_settings(config, path)
    if config.source == "captions":
        if captions is None:
            raise ConfigError(f"{config.name}: source: captions needs a dataset with captions.")
        return captions, "captions"
    if not path.is_file() or path.suffix == ".parquet":
        from platorep.data.texts import text_column  # with it comes a library that takes long

        return text_column(
            config.source,
            column=config.text,
            subset=config.subset,
            revision=config.revision,
            split=config.split,
            offline=offline,
        )
    if path.suffix in NOT_PLAIN:
        raise ConfigError(
            f"{config.name}.source: {path} is no plain text. Expected a text file, a parquet file, "
            "or a dataset on the hub or in a folder."
        )
    return _text_file(path, config.documents == "file"), path.name


def _refuse_idle_settings(config: BitsPerByteConfig, path: Path) -> None:
    """Refuse what says where in a source the texts are, where the source has no such thing."""
    taken: tuple[str, ...]
    if config.source == "captions":
        taken, kind = (), "the experiment's captions"
    elif path.suffix == ".parquet":
        taken, kind = ("text",), "a parquet file"
    elif path.is_file():
        taken, kind = ("documents",), "a text file"
    elif path.is_dir():
        taken, kind = ("subset", "split", "text"), "a folder"
    else:
        taken, kind = ("subset", "split", "text", "revision"), "a dataset of the hub"
    if idle := idle_settings(config, WHERE, taken):
        raise ConfigError(
            f"{config.name}: `{idle[0]}` means nothing to {kind} ({config.source}). Leave it out."
        )


def _text_file(path: Path, whole: bool) -> Iterator[str]:
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            if whole:
                yield file.read()
                return
            for line, text in enumerate(file, start=1):  # noqa: B007  used in the message
                yield text.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 after line {line}: {error}.") from error
