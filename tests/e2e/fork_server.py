"""Starts `platorep` in milliseconds: a process that has imported everything and forks for each.

Commands come as lines of JSON on stdin, answers go to stdout; `processes.py` is the other end.
Run as a script; it is no part of the test process, so that the tests may kill what it starts.
"""

import ctypes
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELOAD = (
    "platorep.cli",
    "platorep.execute",
    "platorep.plan",
    "platorep.data.folder",
    "platorep.models.arrays",
    "platorep.models.language",
    "platorep.models.toyworld",
    "platorep.models.vision",
    "platorep.plots",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
)


def slow_disk(seconds: float) -> None:
    """Every flush takes so long: a file is under its `.partial` name for long enough to be seen."""
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds)
        fsync(descriptor)

    os.fsync = slow


def file_size_limit(size_bytes: int) -> None:
    """What a full disk does to a process, for files that grow larger than this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def no_privileges(asked: bool) -> None:
    """Permissions mean nothing to root, until it gives its capabilities up."""
    if asked:
        version, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(version, nothing) == 0


def deaf(times: int) -> None:
    """The first signals are swallowed, as C code does that clears an exception."""
    from platorep.extraction.making import _Carried

    carry_out = _Carried.carry_out
    left = [times]

    def swallowing(*arguments: object) -> None:
        try:
            carry_out(*arguments)
        except (SystemExit, KeyboardInterrupt):
            if not left[0]:
                raise
            left[0] -= 1

    _Carried.carry_out = swallowing


def blind(folder: str) -> None:
    """No file of this folder can be opened that is an image."""

    def hook(event: str, arguments: Any) -> None:
        path = str(arguments[0]) if event == "open" else ""
        if path.startswith(folder) and path.endswith(".png"):
            raise PermissionError(13, "an image is looked at", path)

    sys.addaudithook(hook)


CONDITIONS: dict[str, Callable[[Any], None]] = {
    "slow_disk": slow_disk,
    "file_size_limit": file_size_limit,
    "no_privileges": no_privileges,
    "deaf": deaf,
    "blind": blind,
}


def work(job: dict[str, Any]) -> int:
    """What the console command does, in a folder, with variables and under conditions."""
    with Path(job["log"]).open("wb", buffering=0) as log:
        os.dup2(log.fileno(), 2)
    with Path(job["output"]).open("wb", buffering=0) as output:
        os.dup2(output.fileno(), 1)
    os.chdir(job["folder"])
    os.environ.update(job["environment"])
    sys.path[:0] = job["environment"].get("PYTHONPATH", "").split()
    for name, value in job["conditions"].items():
        CONDITIONS[name](value)
    sys.argv = ["platorep", *job["arguments"]]
    from platorep.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def start(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work(job)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    import importlib

    for name in PRELOAD:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            _, status = os.waitpid(job["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = start(job)
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
