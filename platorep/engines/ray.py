"""The engine whose workers are Ray's: on this machine, or on a cluster of many.

The only module that imports ray. `platorep.engines.carrying` says who does what.
"""

import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from platorep.engines.carrying import Carrying
from platorep.engines.crew import Call, Died, Hand, KeptThere, Lost, Size, described
from platorep.engines.unit import Done, Kept, Needs, Unit
from platorep.engines.worker import Ended, Worker, allow_shared_arrays
from platorep.errors import AbsentError, ConfigError
from platorep.machine import CORES, THREADS, memory_bytes, num_cores
from platorep.reporting import Reporter

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported

try:
    import ray
    from ray.exceptions import (
        ObjectLostError,
        OutOfMemoryError,
        RayActorError,
        RayError,
        RayTaskError,
    )
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise AbsentError(
        f"--engine ray needs the library ray, which is not here ({error}). Install platorep[ray], "
        "on every machine of the cluster."
    ) from error

ANSWER_S, TELL_S = 30.0, 3.0
"""How long a cluster's address may be silent, and after which time it is told."""
SHARES = (0.125, 0.25, 0.5, 1.0)
"""Of a GPU: few sizes, so that workers can be taken over by the next unit."""
GIB = 2**30


class RayEngine:
    """Workers of a Ray cluster.

    Values that come back hold arrays that are read-only: they lie in shared memory, uncopied.

    Args:
        address: `host:port` of a cluster's head; None: what RAY_ADDRESS says, or else a cluster of
            this machine alone, which ends with the engine.

    Raises:
        AbsentError: no cluster answers at the address.
    """

    def __init__(self, address: str | None, report: Reporter) -> None:
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        if "://" in address:
            raise ConfigError(
                f"address {address}: clients of Ray are no part of the cluster. Start the "
                "command on a machine of it, and give `host:port` of its head, or `auto`."
            )
        allow_shared_arrays()
        self._own = not ray.is_initialized()
        if self._own:
            _connect(address, report)
            # what Ray prints of workers that died: it is told here, in a sentence
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
            nodes = [_size(node["Resources"]) for node in _nodes()]
            whole = Size(*(sum(parts) for parts in zip(*nodes, strict=True)))
            where = "this machine" if address == "local" else f"{address}, nodes: {len(nodes)}"
            report.say(f"Ray on {where}: {described(whole)}")
        self._crew = _Crew()
        self._hands: list[Hand] = []

    @property
    def num_workers(self) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    @property
    def has_gpus(self) -> bool | None:
        return bool(ray.cluster_resources().get("GPU"))

    def carry_out(self, units: Iterable[Unit], report: Reporter) -> Generator[Done, None, None]:
        return Carrying(self._crew, units, report, self._hands).done()

    def put(self, value: Any) -> Kept:
        return KeptThere(ray.put(value))

    def rest(self) -> None:
        for hand in self._hands:
            self._crew.end(hand.actor)
        self._hands.clear()

    def close(self) -> None:
        self.rest()
        if self._own:
            ray.shutdown()


class _Crew:
    """Actors of Ray, one to a `Worker`. See `platorep.engines.crew.Crew`."""

    def __init__(self) -> None:
        self._actor = ray.remote(Worker)
        self._gpu_bytes: dict[str, int] = {}

    def size_of(self, needs: Needs, *, alone: bool) -> Size:
        nodes = [node["Resources"] | {"id": node["NodeID"]} for node in _nodes()]
        cpus, memory = needs.cpus, math.ceil(needs.memory_bytes / GIB) * GIB
        gpus = 0.0
        if needs.every_gpu:
            gpus = max([1.0, *(node.get("GPU", 0.0) for node in nodes)])
        elif needs.gpu_bytes:
            gpus = self._share(needs.gpu_bytes, nodes)
        size = Size(cpus, gpus, memory)
        fitting = [node for node in nodes if _fits(size, node)]
        if not fitting:
            has = ", ".join(dict.fromkeys(described(_size(node)) for node in nodes))
            raise AbsentError(
                f"it needs {described(size)} on one machine; those of the cluster have {has}. "
                "Add a larger one, or let it need less."
            )
        if alone:
            size = max(
                (_size(node)._replace(gpus=gpus) for node in fitting),
                key=lambda one: one.memory_bytes,
            )
        return size

    def _share(self, gpu_bytes: int, nodes: Iterable[Mapping[str, Any]]) -> float:
        """Of a GPU, by the memory of the smallest; a whole one where that cannot be found out."""
        has = [self._gpu_bytes_of(node["id"]) for node in nodes if node.get("GPU")]
        share = gpu_bytes / min(has, default=1) if all(has) else 1.0
        return next((few for few in SHARES if few >= share), 1.0)

    def _gpu_bytes_of(self, node: str) -> int:
        if node not in self._gpu_bytes:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            ask = ray.remote(_smallest_gpu_bytes).options(num_cpus=0, scheduling_strategy=there)
            try:
                self._gpu_bytes[node] = ray.get(ask.remote(), timeout=ANSWER_S)
            except RayError:
                return 0
        return self._gpu_bytes[node]

    def has_room(self, sizes: Iterable[Size]) -> bool:
        has, taken = ray.cluster_resources(), list(sizes)
        cpus, gpus = sum(size.cpus for size in taken), sum(size.gpus for size in taken)
        return bool(cpus < has.get("CPU", 0) and gpus <= has.get("GPU", 0))

    def start(self, size: Size) -> Any:
        variables = {
            name: str(size.cpus)
            for name in (CORES, THREADS, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        if not size.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves them visible, for all to take
        if (offline := os.environ.get("HF_HUB_OFFLINE")) is not None:
            variables["HF_HUB_OFFLINE"] = offline
        return self._actor.options(
            num_cpus=size.cpus,
            num_gpus=size.gpus,
            memory=size.memory_bytes or None,
            max_restarts=0,
            runtime_env={"env_vars": variables},
        ).remote(sys.path)

    def call(self, actor: Any, method: str, *args: Any) -> Any:
        return getattr(actor, method).options(num_returns="streaming").remote(*args)

    def hear(self, calls: list[Call], timeout_s: float) -> tuple[Call, Any, Any] | None:
        if not calls:
            time.sleep(timeout_s)
            return None
        by_stream = {call.stream: call for call in calls}
        ready, _ = ray.wait(list(by_stream), num_returns=1, timeout=timeout_s, fetch_local=True)
        if not ready:
            return None
        call = by_stream[ready[0]]
        message, kept = self._message(call)
        return call, message, kept

    def _message(self, call: Call) -> tuple[Any, Any]:
        kept = None
        try:
            message = ray.get(next(call.stream))
            if isinstance(message, Ended) and message.error is None and call.keeps:
                kept = next(call.stream)
                ray.get(next(call.stream, kept))  # that it is whole, or why it is not
        except StopIteration:
            return Died("it ended without a word."), None
        except ObjectLostError as error:
            return _lost(call, error), None
        except RayTaskError as error:  # what was sent, or came back, cannot be pickled
            cause = getattr(error, "cause", None)
            if isinstance(cause, ObjectLostError):
                return _lost(call, cause), None
            return Ended([], 0.0, error=cause if isinstance(cause, Exception) else error), None
        except RayError as error:
            return _died(error), None
        return message, kept

    def end(self, actor: Any) -> None:
        with suppress(RayError):
            ray.kill(actor)

    def describe(self) -> str:
        free = ray.available_resources()
        return f"free in the cluster: {described(_size(free))}"


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _size(resources: Mapping[str, Any]) -> Size:
    return Size(
        int(resources.get("CPU", 0)), resources.get("GPU", 0.0), int(resources.get("memory", 0))
    )


def _fits(size: Size, node: Mapping[str, Any]) -> bool:
    return all(few <= many for few, many in zip(size, _size(node), strict=True))


def _smallest_gpu_bytes() -> int:
    """Memory of the smallest GPU of the machine that this is called on; 0: it is not known."""
    ask = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        return min(int(line) for line in told.splitlines()) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0


def _lost(call: Call, error: ObjectLostError) -> Lost | Died:
    if call.what != "open":  # what it made is gone with its node
        return Died("its node is gone.")
    lost = [ref for ref in call.given if ref.hex() == error.object_ref_hex]
    return Lost(lost or call.given)


def _died(error: RayError) -> Died:
    """How a worker died, in a sentence, and where its output is."""
    text = str(error)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Died(f"it could not start: {text.strip().splitlines()[-1]}.")
    out_of_memory = isinstance(error, OutOfMemoryError) or "low on memory" in text
    detail = re.search(r"Worker exit detail: (.*?)(\. Some common causes|$)", text, re.S)
    pid, ip = (re.search(rf"{name}: (\S+)", text) for name in ("pid", "ip"))
    who = f"process {pid[1] if pid else '?'} on {ip[1] if ip else '?'}"
    how = detail[1] if detail else text.strip().splitlines()[-1].rstrip(".")
    how = "Ray ended it, since its node was low on memory" if out_of_memory else how
    return Died(f"{who}: {how}. Its output is in {_logs()} there.", out_of_memory)


def _logs() -> str:
    context = ray.get_runtime_context()
    return f"{context.get_temp_dir()}/{context.get_session_name()}/logs"


def _connect(address: str, report: Reporter) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"num_cpus": num_cores(), "_memory": memory_bytes()}
        options |= {"include_dashboard": False}
    elif address != "auto":
        _await_answer(address, report)
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # it would try for minutes
    if address == "local" or address.startswith(("127.0.0.1:", "localhost:")):
        # Ray would take the machine's own address for the loopback one; on macOS it does not
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    with _own_signals():
        try:
            ray.init(address, **options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise AbsentError(
                f"the Ray cluster at {address} cannot be used: {error}. Start the command on a "
                "machine of the cluster (`ray start`), with its Ray and Python."
            ) from error


def _await_answer(address: str, report: Reporter) -> None:
    """Raises AbsentError if nobody listens there."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"address {address}: expected host:port, `auto` or `local`.")
    began, told = time.monotonic(), False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=TELL_S).close()
            return
        except UnicodeError as error:
            raise ConfigError(
                f"address {address}: no host can have that name ({error})."
            ) from error
        except OSError as error:
            waited = time.monotonic() - began
            if waited > ANSWER_S:
                raise AbsentError(
                    f"no Ray cluster answers at {address} ({error}; waited {waited:.0f} s). Start "
                    "one (`ray start --head`), or leave --address and RAY_ADDRESS out: this "
                    "machine's cores are used then."
                ) from error
            if waited > TELL_S and not told:
                report.say(f"waits for the Ray cluster at {address}")
                told = True
            time.sleep(0.5)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts a handler of its own in the place of the command's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
