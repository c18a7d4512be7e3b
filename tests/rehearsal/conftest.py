"""One stand-in of the hub, and two warm processes to start commands from: with and without it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serve
from paper_hub import VISION, fill
from processes import Ended, Forks


@dataclass
class Rehearsal:
    """A machine whose caches are empty at first, and the hub that it sees."""

    hub: Hub
    folder: Path
    online: Forks
    offline: Forks

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def command(self, *arguments: str, token: str = "") -> Ended:
        """`platorep ARGUMENTS`, with --offline from a process that was offline when it began."""
        forks = self.offline if "--offline" in arguments else self.online
        environment = {"HF_TOKEN": token}
        return forks.run(*arguments, folder=self.folder, cache=self.cache, environment=environment)

    def rows(self, *arguments: str, token: str = "") -> list[dict[str, Any]]:
        """The table that a command prints."""
        ended = self.command(*arguments, "--json", token=token)
        assert ended.code == 0, ended.stderr
        rows: list[dict[str, Any]] = json.loads(ended.stdout)
        return rows


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("rehearsal")
    with serve() as hub:
        proxy = {"https_proxy": hub.url, "http_proxy": hub.url, "no_proxy": "127.0.0.1"}
        libraries = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), **proxy}
        online = Forks(libraries | {"HF_HUB_OFFLINE": "0"})
        offline = Forks(libraries | {"HF_HUB_OFFLINE": "1"})
        fill(hub, VISION[:1])
        yield Rehearsal(hub, folder, online, offline)
        online.close()
        offline.close()
