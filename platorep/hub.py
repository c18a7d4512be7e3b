"""The Hugging Face Hub, for models and datasets alike: waits that end, refusals that are sentences,
and cached files that are what their names say."""

import hashlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, constants, set_client_factory
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import default_client_factory

from platorep.errors import AbsentError, IntegrityError, PlatorepError, StorageError
from platorep.files import cache_root, sha256_file, write_json

Kind = Literal["model", "dataset"]

FETCH_FIRST = (
    "Run `platorep extract CONFIG --download-only` on a machine with network (same HF_HOME), "
    "then this command again."
)
QUIET_S = 3.0
"""After so many seconds of waiting it is said what is waited for."""
SAME_REST = 3
"""How often the same rest of a file is asked for, before the download is given up."""

_HTTPError: type[BaseException] = HfHubHTTPError.__mro__[1]
TRANSPORT_ERRORS: tuple[type[BaseException], ...] = (
    *(_HTTPError, ConnectionError, TimeoutError, FileMetadataError, json.JSONDecodeError),
)
"""What says that the hub did not answer, or not as a hub does."""


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return bool(constants.HF_HUB_OFFLINE)


def repository_info(name: str, revision: str | None, kind: Kind) -> Any:
    """What the hub says of a repository: its commit (`sha`) and files (`siblings`).

    One request, not repeated.

    Raises:
        RepositoryNotFoundError, RevisionNotFoundError, ...: as huggingface_hub.
        ConnectionError: the answer is that of no hub.
    """
    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    try:
        return ask(name, revision=revision, files_metadata=True, timeout=seconds)
    except json.JSONDecodeError:
        raise
    except (AttributeError, KeyError, TypeError) as error:
        raise ConnectionError(f"its answer describes no repository ({error!r})") from error


@contextmanager
def hub_errors(name: str, revision: str | None, kind: Kind) -> Iterator[None]:
    """Around requests to the hub: every wait ends, is told when it is long, and fails in words.

    Raises:
        AbsentError: gated, not found, not reachable, or not in the cache while offline.
    """
    _end_every_wait()
    _asked_again.clear()
    timer = threading.Timer(QUIET_S, _say, [f"waiting for {kind} {name} of {constants.ENDPOINT}"])
    timer.daemon = True
    if not is_offline():
        timer.start()
    try:
        yield
    except PlatorepError:
        raise
    except Exception as error:
        message = _in_words(error, name, revision, kind)
        if message is None:
            raise
        raise AbsentError(message) from error
    finally:
        timer.cancel()


def _in_words(error: Exception, name: str, revision: str | None, kind: Kind) -> str | None:
    """What happened and what to do; None for what is no refusal of the hub."""
    which = f"{name!r}" + (f" at revision {revision!r}" if revision else "")
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"
    words = str(error)  # `datasets` drops the causes of its errors and keeps their words
    if isinstance(error, GatedRepoError) or "gated dataset" in words:
        return (
            f"hub {kind} {which} is gated. Ask for access at {page}, then set HF_TOKEN (or run "
            "`hf auth login`)."
        )
    if isinstance(error, RevisionNotFoundError) or words.startswith("Revision '"):
        return (
            f"hub {kind} {name!r} has no revision {revision!r}. Its branches, tags and commits: "
            f"{page}/tree/main"
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError) or (
        type(error).__name__ == "DatasetNotFoundError"
    ):
        return (
            f"{which} is neither a local folder that exists nor a {kind} on the hub that you may "
            "read. Check the name; relative paths are taken from the folder of the experiment "
            "file; for a private repository set HF_TOKEN (or run `hf auth login`)."
        )
    absent = isinstance(error, EntryNotFoundError)
    local = isinstance(error, LocalEntryNotFoundError)
    if (local or not absent) and (why := what_went_wrong(error)) is not None:
        return (
            f"hub {kind} {which} is not to be had: {why}. Try again later; what was downloaded "
            f"before is used with --offline. If a local folder is meant: there is no {name!r}."
        )
    if local or type(error).__name__ == "OfflineModeIsEnabled":
        return (
            f"hub {kind} {which} is not, or not whole, in the local cache "
            f"({constants.HF_HUB_CACHE}) and nothing may be downloaded now. {FETCH_FIRST}"
        )
    return f"hub {kind} {which} lacks a file: {words}" if absent else None


def what_went_wrong(error: BaseException) -> str | None:
    """How the hub failed to answer; None if that is not what happened."""
    one: BaseException | None = error
    while one is not None:
        if type(one).__name__ == "OfflineModeIsEnabled":
            return None
        if isinstance(one, TRANSPORT_ERRORS):
            return _transport(one)
        if "Consistency check failed" in str(one):
            return f"the download broke off ({str(one).splitlines()[0]})"
        one = one.__cause__
    return None


def _transport(error: Any) -> str:
    host, kind = constants.ENDPOINT, type(error).__name__
    response = getattr(error, "response", None)
    if response is not None:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        return f"{response.url.copy_with(query=None)} answered with status {status}"
    try:
        where = str(error.request.url.copy_with(query=None))
    except (AttributeError, RuntimeError):
        where = host
    if "Timeout" in kind:
        return (
            f"{where} did not answer within {_longest_wait():g} s (HF_HUB_ETAG_TIMEOUT, "
            "HF_HUB_DOWNLOAD_TIMEOUT)"
        )
    if kind == "TooManyRedirects":
        return f"{where} redirects without end"
    if isinstance(error, json.JSONDecodeError):
        return f"{host} answered with something that is no JSON, such as a page to log in to"
    words = str(error).splitlines()[0] if str(error) else kind
    if kind in ("ReadError", "WriteError", "RemoteProtocolError"):
        return f"the connection to {where} broke off ({words})"
    return f"{where}: {words}"


def _longest_wait() -> float:
    return float(max(constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT))


_asked_again: dict[tuple[str, str], int] = {}


def _bound(request: Any) -> None:
    """Called before each request: no wait without end, and no rest asked for without end.

    huggingface_hub asks for the rest of a file that is cut off as often as any byte of it came.
    """
    limits = request.extensions.get("timeout") or {}
    longest = _longest_wait()
    request.extensions["timeout"] = {
        kind: min(limits.get(kind) or longest, longest)
        for kind in ("connect", "read", "write", "pool")
    }
    rest = request.headers.get("range", "")
    if request.method == "GET" and rest.endswith("-"):
        where = str(request.url.copy_with(query=None))
        _asked_again[where, rest] = _asked_again.get((where, rest), 0) + 1
        if _asked_again[where, rest] > SAME_REST:
            raise AbsentError(
                f"the download of {where} breaks off at the same byte each time ({rest}). Try "
                "again later, or from another network."
            )


@cache
def _end_every_wait() -> None:
    """Give the HTTP client of huggingface_hub, which waits for ever, limits."""

    def client() -> Any:
        made = default_client_factory()
        made.event_hooks["request"].append(_bound)
        return made

    set_client_factory(client)


@contextmanager
def bounded_sockets() -> Iterator[None]:
    """Around downloads by others, such as timm's from a URL, which would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _longest_wait())
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@cache
def say_once(text: str) -> None:
    _say(text)


def verify_blob(path: Path) -> None:
    """Check a file of the hub cache against its own name, once for as long as it is not touched.

    In the cache, a file of a snapshot is a link to a blob that is called by the hash of its
    content: SHA-256 of what is large, else git's SHA-1. Without links there is nothing to check.

    Raises:
        IntegrityError: the content is another.
    """
    if not path.is_symlink():
        return
    blob = os.path.normpath(path.parent.absolute() / path.readlink())
    name = Path(blob).name
    if not re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", name):
        return
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns, status.st_ino]
    memory = cache_root() / "hub" / "verified.json"
    known = _read_memory(memory)
    if known.get(blob) == state:  # by path: repositories may share content, not files
        return
    if name not in _content_hashes(path, len(name)):
        raise IntegrityError(
            f"{path} is damaged: its content ({status.st_size} bytes) does not have the hash "
            f"{name} that the hub gave it. Delete {blob} and run "
            "the same command where the hub can be reached: only this file is fetched again."
        )
    with suppress(StorageError):  # then it is checked again next time
        write_json(memory, _read_memory(memory) | {blob: state})


def _content_hashes(path: Path, num_digits: int) -> set[str]:
    if num_digits == 64:
        return {sha256_file(path)}
    content = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {git, hashlib.sha1(content).hexdigest()}  # the latter by mirrors such as Artifactory


def _read_memory(memory: Path) -> dict[str, Any]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
