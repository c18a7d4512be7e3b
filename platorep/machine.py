"""What this process may use: memory and cores of its container or job, and not those of the host.

It is the least of what the host has and of what is allowed by control groups (containers,
Kubernetes, systemd, Slurm; versions 1 and 2, at every level above the process), by the affinity of
the process (`taskset`, cpusets) and by the variables of a Slurm job, which may be bound by nothing
else. All that asks for a number of processes, threads or bytes asks here.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from platorep.errors import ConfigError

CORES = "PLATOREP_CORES"
"""The variable that says how many cores to use, whatever is found; an engine sets it for its
workers."""
THREADS = "OMP_NUM_THREADS"
"""What torch, MKL, OpenBLAS and Arrow read when they are loaded."""
MIB = 2**20


@dataclass(frozen=True)
class Machine:
    """Where it is read what this process may use. The defaults are here and now."""

    root: Path = Path("/")
    """Holds `proc` and `sys`."""
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def memory_bytes(self) -> int:
        """Most that the processes of this container or job may take together."""
        import psutil

        limits = [limit for group in self._groups("memory") for limit in _memory_limits(group)]
        return min([int(psutil.virtual_memory().total), *limits, *self._slurm_memory()])

    def num_cores(self) -> int:
        """How many cores this process may keep busy; one at least.

        Part of a core, as quotas may say (1.5), counts as one.

        Raises:
            ConfigError: PLATOREP_CORES is no number of cores.
        """
        said = self.variables.get(CORES)
        if said is not None:
            if not said.isdecimal() or int(said) < 1:
                raise ConfigError(f"{CORES} must be a number of cores, 1 or more; found {said!r}.")
            return int(said)
        quotas = (quota for group in self._groups("cpu") for quota in _cpu_quotas(group))
        limits = [num_visible_cores(), *(max(1, math.ceil(quota)) for quota in quotas)]
        return min([*limits, self._slurm("CPUS_PER_TASK", "CPUS_ON_NODE") or limits[0]])

    def _groups(self, controller: str) -> Iterator[Path]:
        """The control groups of this process: its own, and those around it that can be seen."""
        paths = {}
        for line in _lines(self.root / "proc/self/cgroup"):
            number, controllers, path = line.split(":", 2)
            for name in controllers.split(",") if number != "0" else ("",):
                paths[name] = path
        for line in _lines(self.root / "proc/self/mountinfo"):
            # number, parent, device, root there, mount point, ... - kind, source, options
            mount, _, kind = (part.split() for part in line.partition(" - "))
            version_1 = kind[0] == "cgroup" and controller in kind[-1].split(",")
            name = controller if version_1 else ""
            if name not in paths or not (version_1 or kind[0] == "cgroup2"):
                continue
            top = self.root / mount[4].lstrip("/")
            inside = PurePosixPath(paths[name])
            # Without a namespace a container sees its own group mounted, and its path on the host.
            inside = inside.relative_to(mount[3]) if inside.is_relative_to(mount[3]) else inside
            group = top / str(inside).lstrip("/") if ".." not in inside.parts else top
            while True:
                yield group
                if group == top:
                    break
                group = group.parent

    def _slurm(self, *names: str) -> int:
        """The first of these variables that a Slurm job has; 0 where none says a number."""
        if "SLURM_JOB_ID" not in self.variables:  # srun takes some of them as its options
            return 0
        said = (self.variables.get(f"SLURM_{name}", "") for name in names)
        return next((int(text) for text in said if text.isdecimal() and int(text)), 0)

    def _slurm_memory(self) -> Iterator[int]:
        """Of the node; the tasks that a job runs there share it. MiB in the variables."""
        for amount, times in (
            ("MEM_PER_NODE", 1),
            ("MEM_PER_CPU", self._slurm("CPUS_ON_NODE", "CPUS_PER_TASK")),
            ("MEM_PER_GPU", self._slurm("GPUS_ON_NODE")),
        ):
            if limit := self._slurm(amount) * times * MIB:
                yield limit


def memory_bytes() -> int:
    """Most that the processes of this container or job may take together."""
    return Machine().memory_bytes()


def num_cores() -> int:
    """How many cores this process may keep busy."""
    return Machine().num_cores()


def num_decoders() -> int:
    """Processes or threads that decode beside one that computes; 0: it decodes for itself.

    One core is left to what computes; on two cores a second process is more trouble than help.
    """
    cores = num_cores()
    return 0 if cores <= 2 else min(cores - 1, MOST_DECODERS)


MOST_DECODERS = 8
"""A network seldom reads faster, and each takes memory."""


def share_threads() -> None:
    """Let the libraries that compute, if they are loaded after this, start a thread per core.

    They see affinity, and neither quotas nor Slurm. What the user says of threads stays.
    """
    cores = num_cores()
    if cores < num_visible_cores():
        os.environ.setdefault(THREADS, str(cores))


def num_visible_cores() -> int:
    """What libraries take for the number of cores: those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_limits(group: Path) -> Iterator[int]:
    """Above `high` the kernel slows a group down until it has less."""
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        yield from (int(line) for line in _lines(group / name) if line.isdecimal())


def _cpu_quotas(group: Path) -> Iterator[float]:
    """Cores; version 1 says -1 where there is no limit, and version 2 `max`."""
    for line in _lines(group / "cpu.max"):
        quota, period = line.split()
        if quota.isdecimal():
            yield int(quota) / int(period)
    for quota, period in zip(
        _lines(group / "cpu.cfs_quota_us"), _lines(group / "cpu.cfs_period_us"), strict=False
    ):
        if quota.isdecimal():
            yield int(quota) / int(period)


def _lines(path: Path) -> list[str]:
    """Of a file of the kernel's; none where it is not there or not for this process."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
