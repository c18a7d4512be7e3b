"""Each error that docs/errors explains, made by the real code: what is printed, and the exit code.

One small experiment of arrays is extracted and aligned; then something is done to it.
"""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from huggingface_hub.errors import GatedRepoError
from images import red
from typer.testing import CliRunner, Result

from platorep.cli import app
from platorep.cli.running import exit_on_error
from platorep.files import storage_errors
from platorep.hub import hub_errors
from platorep.models.memory import Batches

NUM = 12
EXPERIMENT = """\
name: mine
dataset: {source: ./photos, text: caption}
families:
  - {name: arrays, modality: other, models: [{name: a.npz, label: a}, {name: b.npz, label: b}]}
align:
  pairs: [[other, other]]
  metrics: [{name: mutual_knn, k: 3}]
  null: {permutations: 9}
"""
VOLATILE = (
    (r"/\S*?/huggingface/hub", "~/.cache/huggingface/hub"),
    (r"\b[0-9a-f]{64}\b", "SHA256"),
    (r"\b[0-9a-f]{16}\b", "KEY"),
    (r"process \d+ on \S+, since [\d: -]+\d", "process 4242 on node7, since 2026-01-31 12:00:00"),
)
"""What is another on each machine, and how the pages write it."""


def make_experiment() -> None:
    """In the working folder: twelve photographs, two files of features, `mine.yaml`."""
    Path("photos").mkdir()
    ids = [f"{i:02d}.png" for i in range(NUM)]
    for i, name in enumerate(ids):
        Path("photos", name).write_bytes(red(i))
    lines = ["image,caption", *(f"{name},red number {i}" for i, name in enumerate(ids))]
    Path("photos/captions.csv").write_text("\n".join(lines), encoding="utf-8")
    for number, name in enumerate("ab"):
        layers = np.random.default_rng(number).normal(size=(NUM, 2, 3)).astype("f4")
        np.savez(f"{name}.npz", layers=layers, ids=ids)
    Path("mine.yaml").write_text(EXPERIMENT, encoding="utf-8")
    for stage in ("extract", "align"):
        done = command(stage, "mine.yaml")
        assert done.exit_code == 0, done.output


def command(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(result: Result) -> tuple[str, int]:
    """The message that a command ends with, and the exit code."""
    at = result.stderr.rindex("platorep: ")
    return result.stderr[at:], result.exit_code


@contextmanager
def changed(file: Path, content: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def of_block(block: Callable[[], Any], capture: Callable[[], str]) -> tuple[str, int]:
    """What a command whose work is `block` says, and ends with."""
    try:
        with exit_on_error():
            block()
    except typer.Exit as ended:
        return capture(), ended.exit_code
    raise AssertionError("it did not end")


def wrong_key(_: Callable[[], str]) -> tuple[str, int]:
    text = EXPERIMENT.replace("permutations", "permutation")
    with changed(Path("mine.yaml"), text.encode()):
        return said(command("plan", "mine.yaml"))


def not_in_cache(_: Callable[[], str]) -> tuple[str, int]:
    return said(command("list", "models", "EleutherAI/pythia-70m"))


def gated(capture: Callable[[], str]) -> tuple[str, int]:
    def refused() -> None:
        with hub_errors("meta-llama/Llama-2-7b-hf", None, "model"):
            raise GatedRepoError.__new__(GatedRepoError)  # as if from an answer of the hub

    return of_block(refused, capture)


def rows_differ(_: Callable[[], str]) -> tuple[str, int]:
    table = Path("photos/captions.csv")
    with changed(table, table.read_bytes().rpartition(b"\n")[0]):
        assert command("extract", "mine.yaml", "--models", "a").exit_code == 0
        found = said(command("align", "mine.yaml"))
    assert command("extract", "mine.yaml").exit_code == 0
    return found


def damaged_file(_: Callable[[], str]) -> tuple[str, int]:
    shard = min(Path(os.environ["PLATOREP_CACHE"]).rglob("shard-*"))
    with changed(shard, shard.read_bytes()[:-1] + b"\x00"):
        return said(command("align", "mine.yaml", "--overwrite", "always"))


def bad_row(_: Callable[[], str]) -> tuple[str, int]:
    with changed(Path("photos/07.png"), b"no image"):
        return said(command("plan", "mine.yaml"))


def out_of_memory(capture: Callable[[], str]) -> tuple[str, int]:
    def step(_: int, __: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return of_block(lambda: Batches(512).run([77], step, "tokens"), capture)


def results_in_use(_: Callable[[], str]) -> tuple[str, int]:
    code = (
        "from pathlib import Path; from platorep.holding import held\n"
        "with held(Path('results/mine'), 'others', None): print('held', flush=True); input()"
    )
    words = [sys.executable, "-c", code, "run", "mine.yaml", "--limit", "8"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            return said(command("align", "mine.yaml"))
        finally:
            other.stdin.write("\n")
            other.stdin.close()


def too_few_rows(_: Callable[[], str]) -> tuple[str, int]:
    return said(command("align", "mine.yaml", "--set", "align.metrics.0.k=12"))


def no_null(_: Callable[[], str]) -> tuple[str, int]:
    metric = "--set=align.metrics=[{name: rsa, compare: kendall}]"
    result = command("align", "mine.yaml", metric)
    lines = [line for line in result.stderr.splitlines() if "no null" in line]
    return "\n".join(lines), result.exit_code


def disk_full(capture: Callable[[], str]) -> tuple[str, int]:
    def write() -> None:
        with storage_errors(Path("results/mine/scores.parquet")):
            raise OSError(errno.ENOSPC, "No space left on device")

    return of_block(write, capture)


def failed_cell(_: Callable[[], str]) -> tuple[str, int]:
    models = "--set=families.0.models=[{name: a.npz, label: a}, {name: c.npz, label: c}]"
    return said(command("extract", "mine.yaml", models, "--output", "results/new"))


def interrupted(capture: Callable[[], str]) -> tuple[str, int]:
    return of_block(lambda: signal.raise_signal(signal.SIGINT), capture)


def terminated(capture: Callable[[], str]) -> tuple[str, int]:
    return of_block(lambda: signal.raise_signal(signal.SIGTERM), capture)


PAGES: dict[str, tuple[Callable[[Callable[[], str]], tuple[str, int]], ...]] = {
    "wrong-key": (wrong_key,),
    "not-in-cache": (not_in_cache, gated),
    "rows-differ": (rows_differ,),
    "damaged-file": (damaged_file,),
    "bad-row": (bad_row,),
    "out-of-memory": (out_of_memory,),
    "results-in-use": (results_in_use,),
    "too-few-rows": (too_few_rows,),
    "no-null": (no_null,),
    "disk-full": (disk_full,),
    "failed-cells": (failed_cell,),
    "interrupted": (interrupted, terminated),
}
"""The pages of docs/errors about one error each, with what makes its messages."""


def settled(text: str) -> str:
    """A message as the pages write it."""
    text = text.replace(os.environ["PLATOREP_CACHE"], "~/.cache/platorep")
    text = text.replace(f"{Path.cwd()}/", "")
    for pattern, stands in VOLATILE:
        text = re.sub(pattern, stands, text)
    return text.strip()
