"""A hub on this machine that speaks as much of the Hugging Face Hub's protocol as loading takes.

Lets the tests drive the real `datasets` and `huggingface_hub` over HTTP (HF_ENDPOINT). Imports
nothing of platorep.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Hub:
    """Commits of dataset and model repositories; `requests` lists what was asked for."""

    branches: dict[str, dict[str, str]] = field(default_factory=dict)  # repo -> branch -> commit
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, repo: str, branch: str, files: dict[str, bytes]) -> str:
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in files.items()})
        commit = hashlib.sha1(f"{repo} {branch} {content}".encode()).hexdigest()
        self.branches.setdefault(repo, {})[branch] = commit
        self.files[repo, commit] = files
        return commit

    def resolve(self, repo: str, revision: str) -> str | None:
        commit = self.branches[repo].get(revision, revision)
        return commit if (repo, commit) in self.files else None


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
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

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
        self.hub.requests.append(f"{self.command} /{'/'.join(parts)}")
        if parts[0] == "api" and parts[1] in ("datasets", "models"):
            repo, rest = "/".join(parts[2:4]), parts[4:]
        elif parts[0] == "datasets":
            repo, rest = "/".join(parts[1:3]), parts[3:]
        elif parts[2:3] == ["resolve"]:  # a model's file
            repo, rest = "/".join(parts[:2]), parts[2:]
        else:
            return self._error(404, "EntryNotFound")
        if repo in self.hub.gated and parts[0] != "api":
            return self._error(401, "GatedRepo")
        if repo not in self.hub.branches:
            return self._error(401, "RepoNotFound")
        action, revision, *inner = [*rest, "revision", "main"][: max(len(rest), 2)]
        commit = self.hub.resolve(repo, revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        files = self.hub.files[repo, commit]
        name = "/".join(inner)
        if action == "resolve":
            return self._file(files, name, commit)
        if action == "revision":
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            return self._json({"id": repo, "sha": commit, "siblings": siblings, "private": False})
        if action == "tree":
            return self._json(_entries(files, name, self.path))
        if action == "paths-info":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body or "{}")["paths"]
            every = {entry["path"]: entry for entry in _entries(files, "", "recursive=true")}
            return self._json([every[path] for path in asked if path in every])
        return self._error(404, "EntryNotFound")

    def _file(self, files: dict[str, bytes], name: str, commit: str) -> None:
        if name not in files:
            return self._error(404, "EntryNotFound", commit)
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
        return self._send(200, content, headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, commit: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        self._send(status, b"{}", headers | ({"X-Repo-Commit": commit} if commit else {}))

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entries(files: dict[str, bytes], folder: str, query: str) -> list[dict[str, Any]]:
    """The tree listing: files and folders below `folder`."""
    prefix = f"{folder}/" if folder else ""
    below = [name for name in files if name.startswith(prefix)]
    folders = {
        "/".join(name.split("/")[:depth])
        for name in below
        for depth in range(prefix.count("/") + 1, name.count("/") + 1)
    }
    if "recursive=true" not in query.lower():
        below = [name for name in below if "/" not in name[len(prefix) :]]
        folders = {name for name in folders if "/" not in name[len(prefix) :]}
    return [_entry("directory", name, b"") for name in sorted(folders)] + [
        _entry("file", name, files[name]) for name in below
    ]


def _entry(kind: str, path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content + path.encode()).hexdigest()
    return {"type": kind, "path": path, "oid": oid, "size": len(content)}
