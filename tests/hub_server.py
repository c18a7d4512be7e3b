"""A hub on this machine that speaks as much of the Hugging Face Hub's protocol as loading takes.

Lets the tests drive the real `datasets` and `huggingface_hub` over HTTP (HF_ENDPOINT). Imports
nothing of platorep.
"""

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".model", ".tar")
"""Files that the hub keeps in a store of their own, to which it redirects."""


@dataclass
class Hub:
    """Commits of dataset and model repositories; `requests` lists what was asked for."""

    branches: dict[str, dict[str, str]] = field(default_factory=dict)  # repo -> branch -> commit
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    hashes: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """As the hub names content: SHA-256 of a large file, Git's name of any other."""
    gated: set[str] = field(default_factory=set)
    """Repositories whose files are for holders of a token in `tokens`; their lists are public."""
    tokens: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    """Of files, not of what is told about them."""
    url: str = ""
    fault: str = ""
    """How it fails: a status, `silent`, `reset`, `loop`, `page`, or (files only) `cut`."""
    only_files: bool = False
    """Whether it still tells what there is."""
    over: threading.Event = field(default_factory=threading.Event)

    def commit(self, repo: str, branch: str, files: dict[str, bytes]) -> str:
        hashes = {name: content_hash(name, data) for name, data in files.items()}
        commit = hashlib.sha1(f"{repo} {branch} {json.dumps(hashes)}".encode()).hexdigest()
        self.branches.setdefault(repo, {})[branch] = commit
        self.files[repo, commit], self.hashes[repo, commit] = files, hashes
        return commit

    def resolve(self, repo: str, revision: str) -> str | None:
        commit = self.branches[repo].get(revision, revision)
        return commit if (repo, commit) in self.files else None

    def refusal(self, repo: str, authorization: str | None) -> int | None:
        """The status that keeps a file from who asks; None: it is his."""
        if repo not in self.gated:
            return None
        if authorization is None:
            return 401
        return None if authorization.removeprefix("Bearer ") in self.tokens else 403


def content_hash(name: str, content: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        """Set as the proxy (HTTPS_PROXY), this hub hears what is asked of any other host."""
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "CONNECT":
            self.hub.requests.append(f"CONNECT {self.path}")
            return self._error(403, "NoProxy")
        parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
        self.hub.requests.append(f"{self.command} /{'/'.join(parts)}")
        spared = self.hub.only_files and "resolve" not in parts
        if self.hub.fault and not spared and self._fail():
            return None
        if parts[0] == "api" and parts[1] in ("datasets", "models"):
            repo, rest = "/".join(parts[2:4]), parts[4:]
        elif parts[0] in ("datasets", "store"):
            repo, rest = "/".join(parts[1:3]), parts[3:]
        elif parts[2:3] == ["resolve"]:  # a model's file
            repo, rest = "/".join(parts[:2]), parts[2:]
        else:
            return self._error(404, "EntryNotFound")
        if parts[0] not in ("api", "store"):
            status = self.hub.refusal(repo, self.headers.get("Authorization"))
            if status is not None:
                return self._error(status, "GatedRepo", message=f"Access to {repo} is restricted.")
        if repo not in self.hub.branches:
            return self._error(401, "RepoNotFound")
        action, revision, *inner = [*rest, "revision", "main"][: max(len(rest), 2)]
        commit = self.hub.resolve(repo, revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        name, key = "/".join(inner), (repo, commit)
        if action == "resolve":
            return self._file(key, name, redirect=parts[0] != "store")
        if action == "revision":
            siblings = [
                {"rfilename": name, "size": len(c)} for name, c in self.hub.files[key].items()
            ]
            about = {"id": repo, "sha": commit, "siblings": siblings, "private": False}
            return self._json(about | {"gated": "manual" if repo in self.hub.gated else False})
        if action == "tree":
            return self._json(self._entries(key, name, self.path))
        if action == "paths-info":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body or "{}")["paths"]
            every = {entry["path"]: entry for entry in self._entries(key, "", "recursive=true")}
            return self._json([every[path] for path in asked if path in every])
        return self._error(404, "EntryNotFound")

    def _fail(self) -> bool:
        """Answer as a hub that is out of order; False where this fault answers well."""
        fault = self.hub.fault
        if fault == "silent":
            self.hub.over.wait(30)
        elif fault == "reset":  # no lingering: the kernel sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "loop":
            self._send(307, b"", {"Location": self.path})
        elif fault == "page":
            self._send(200, b"<html>log in</html>", {"Content-Type": "text/html"})
        elif fault.isdigit():
            self._send(int(fault), b"{}", {"Retry-After": "0"} if fault == "429" else {})
        else:
            return False
        self.close_connection = fault in ("silent", "reset")
        return True

    def _file(self, key: tuple[str, str], name: str, *, redirect: bool) -> None:
        (repo, commit), files = key, self.hub.files[key]
        if name not in files:
            return self._error(404, "EntryNotFound", commit)
        content, content_hash = files[name], self.hub.hashes[key][name]
        headers = {"ETag": f'"{content_hash}"', "X-Repo-Commit": commit}
        if redirect and name.endswith(LARGE):
            headers |= {"X-Linked-ETag": f'"{content_hash}"', "X-Linked-Size": str(len(content))}
            headers["Location"] = f"{self.hub.url}/store/{repo}/resolve/{commit}/{quote(name)}"
            return self._send(302, b"", headers)
        self.hub.sent_bytes += len(content) if self.command == "GET" else 0
        return self._send(200, content, headers)

    def _entries(self, key: tuple[str, str], folder: str, query: str) -> list[dict[str, Any]]:
        """The tree listing: files and folders below `folder`."""
        files, prefix = self.hub.files[key], f"{folder}/" if folder else ""
        below = [name for name in files if name.startswith(prefix)]
        folders = {
            "/".join(name.split("/")[:depth])
            for name in below
            for depth in range(prefix.count("/") + 1, name.count("/") + 1)
        }
        if "recursive=true" not in query.lower():
            below = [name for name in below if "/" not in name[len(prefix) :]]
            folders = {name for name in folders if "/" not in name[len(prefix) :]}
        hashes = self.hub.hashes[key]
        return [
            {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest()}
            | {"size": 0}
            for name in sorted(folders)
        ] + [
            {"type": "file", "path": name, "oid": hashes[name], "size": len(files[name])}
            for name in below
        ]

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, commit: str = "", message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message or code}
        self._send(status, b"{}", headers | ({"X-Repo-Commit": commit} if commit else {}))

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            cut = self.hub.fault == "cut" and "ETag" in headers
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut
