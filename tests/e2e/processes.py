"""`platorep` in processes of its own, which may be killed at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

FORK_SERVER = Path(__file__).with_name("fork_server.py")


@dataclass(frozen=True)
class Ended:
    """What a finished command left: exit code (negative: the signal that ended it) and words."""

    code: int
    stdout: str
    stderr: str


class Forks:
    """Commands at work, started from one warm process."""

    def __init__(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """`environment`: variables that libraries look at once, when they are imported."""
        self._server = subprocess.Popen(
            [sys.executable, str(FORK_SERVER)],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ready = False  # it imports meanwhile

    def start(
        self,
        *arguments: str,
        folder: Path,
        cache: Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        conditions: Mapping[str, Any] = MappingProxyType({}),
    ) -> "Command":
        """Start `platorep ARGUMENTS` in `folder` with its own cache.

        Args:
            conditions: Functions of fork_server.py, such as `slow_disk`, with their argument.
        """
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.log")))
        job: dict[str, Any] = {
            "arguments": arguments,
            "folder": str(folder),
            "environment": {"PLATOREP_CACHE": str(cache), **environment},
            "conditions": dict(conditions),
            "log": str(folder / f"{number}.log"),
            "output": str(folder / f"{number}.out"),
        }
        log, output = Path(job["log"]), Path(job["output"])
        log.touch()
        output.touch()
        return Command(self, int(self._ask(job)), log, output)

    def run(self, *arguments: str, **how: Any) -> Ended:
        return self.start(*arguments, **how).end()

    def wait(self, pid: int) -> int:
        return int(self._ask({"wait": pid}))

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.kill()  # it has nothing to tidy up, and would take its time
        self._server.wait()
        self._server.stdin.close()
        self._server.stdout.close()

    def _ask(self, job: dict[str, Any]) -> str:
        assert self._server.stdin is not None
        self._ready = self._ready or self._answer() == "ready"
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._server.stdout is not None
        answer = self._server.stdout.readline().strip()
        assert answer, "the fork server ended"
        return answer


@dataclass
class Command:
    """One command. Its process stays known until `end`, so that a signal hits no other."""

    forks: Forks
    pid: int
    log: Path
    output: Path

    def send(self, number: signal.Signals) -> None:
        assert self.pid > 1  # 0 and -1 would mean everybody
        os.kill(self.pid, number)

    def end(self) -> Ended:
        code = self.forks.wait(self.pid)
        return Ended(code, self.output.read_text(), self.log.read_text())

    def kill(self) -> Ended:
        self.send(signal.SIGKILL)
        return self.end()

    def is_over(self) -> bool:
        """Whether it has ended by itself (a zombie until `end` asks for its exit code)."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "Z"

    def wait_until(self, seen: Callable[[], bool], timeout_s: float = 120) -> bool:
        """Look often; False if the command ended before it was seen."""
        for _ in ticks(timeout_s):
            if seen():
                return True
            if self.is_over():
                return False
        raise TimeoutError(f"not seen in {timeout_s} s; {self.log.read_text()}")


def ticks(timeout_s: float) -> Iterator[None]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        yield
        time.sleep(0.004)  # looking takes the core that what is looked at needs
