"""What a process may use, by the files of Linux as containers and Slurm show them, and for real."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from platorep import machine
from platorep.errors import ConfigError
from platorep.machine import Machine

GIB = 2**30
HOST = 64 * GIB
UNLIMITED = "9223372036854771712"
"""What version 1 says where there is no limit."""
CGROUP2 = "1573 1572 0:29 / /sys/fs/cgroup ro,nosuid,relatime - cgroup2 cgroup rw,nsdelegate\n"


@pytest.fixture(autouse=True)
def large_host(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=HOST)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(machine, "num_visible_cores", lambda: 64)


def fake(root: Path, files: Mapping[str, str], **variables: str) -> Machine:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Machine(root, variables)


def test_nothing_is_known_but_the_host(tmp_path: Path) -> None:
    bare = fake(tmp_path, {})
    assert (bare.memory_bytes(), bare.num_cores()) == (HOST, 64)


def test_a_container_of_version_2(tmp_path: Path) -> None:
    found = fake(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + CGROUP2,
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory.high": "max\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
        },
    )
    assert found.memory_bytes() == 4 * GIB
    assert found.num_cores() == 2


def test_the_least_of_all_levels_counts(tmp_path: Path) -> None:
    job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    path = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
    found = fake(
        tmp_path,
        {
            "proc/self/cgroup": f"0::{path}\n",
            "proc/self/mountinfo": CGROUP2,
            f"sys/fs/cgroup{path}/memory.max": "max\n",
            f"sys/fs/cgroup{path}/cpu.max": "max 100000\n",
            f"{job}/step_0/memory.max": f"{16 * GIB}\n",
            f"{job}/memory.max": f"{8 * GIB}\n",
            f"{job}/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/system.slice/memory.high": f"{7 * GIB}\n",
            "sys/fs/cgroup/elsewhere/memory.max": "1\n",
        },
    )
    assert found.memory_bytes() == 7 * GIB
    assert found.num_cores() == 2  # one and a half


VERSION_1 = {
    "proc/self/cgroup": "8:memory:/docker/a/job\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/\n",
    "proc/self/mountinfo": (
        "32 31 0:29 /docker/a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 /docker/a /sys/fs/cgroup/memory ro master:1 - cgroup cgroup rw,memory\n"
    ),
}  # fmt: skip


def test_a_container_of_version_1_sees_its_group_at_the_mount(tmp_path: Path) -> None:
    found = fake(
        tmp_path,
        VERSION_1
        | {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{6 * GIB}\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )  # fmt: skip
    assert (found.memory_bytes(), found.num_cores()) == (6 * GIB, 1)


def test_version_1_without_limits(tmp_path: Path) -> None:
    found = fake(
        tmp_path,
        VERSION_1
        | {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{UNLIMITED}\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert (found.memory_bytes(), found.num_cores()) == (HOST, 64)


def test_both_versions_side_by_side(tmp_path: Path) -> None:
    """As systemd mounts them: controllers in version 1, names in version 2."""
    found = fake(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/user.slice\n2:cpu:/\n0::/user.slice/session-1.scope\n",
            "proc/self/mountinfo": (
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            ),
            "sys/fs/cgroup/memory/user.slice/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/unified/user.slice/session-1.scope/cgroup.procs": "1\n",
        },
    )
    assert (found.memory_bytes(), found.num_cores()) == (2 * GIB, 64)


@pytest.mark.parametrize(
    ("variables", "memory", "cores"),
    [
        ({"MEM_PER_NODE": "8192", "CPUS_ON_NODE": "12"}, 8 * GIB, 12),
        ({"MEM_PER_CPU": "2048", "CPUS_ON_NODE": "12", "CPUS_PER_TASK": "3"}, 24 * GIB, 3),
        ({"MEM_PER_CPU": "2048", "CPUS_PER_TASK": "3"}, 6 * GIB, 3),
        ({"MEM_PER_GPU": "4096", "GPUS_ON_NODE": "2"}, 8 * GIB, 64),
        ({"MEM_PER_NODE": "0", "CPUS_ON_NODE": "128"}, HOST, 64),  # 0: all that the node has
    ],
)
def test_a_job_of_slurm(variables: dict[str, str], memory: int, cores: int, tmp_path: Path) -> None:
    said = {f"SLURM_{name}": value for name, value in variables.items()}
    job = fake(tmp_path, {}, SLURM_JOB_ID="7", **said)
    assert (job.memory_bytes(), job.num_cores()) == (memory, cores)
    outside = fake(tmp_path, {}, **said)  # options of srun, set before there is a job
    assert (outside.memory_bytes(), outside.num_cores()) == (HOST, 64)


def test_a_number_of_cores_that_is_said_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": CGROUP2,
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
    }
    assert fake(tmp_path, files, PLATOREP_CORES="5").num_cores() == 5
    for wrong in ("0", "-1", "two", ""):
        with pytest.raises(ConfigError, match=r"PLATOREP_CORES must be.*found"):
            fake(tmp_path, files, PLATOREP_CORES=wrong).num_cores()


@pytest.mark.parametrize(("cores", "decoders"), [(1, 0), (2, 0), (3, 2), (8, 7), (64, 8)])
def test_one_core_is_left_to_what_computes(
    cores: int, decoders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATOREP_CORES", str(cores))
    assert machine.num_decoders() == decoders


def started(code: str, cores: set[int], **variables: str) -> list[str]:
    """What a process prints that may run on these cores only."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | variables,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_a_process_keeps_to_its_affinity() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    code = "from platorep.machine import num_cores; print(num_cores())"
    assert started(code, {allowed[-1]}) == ["1"]
    assert started(code, set(allowed)) == [str(min(machine.num_cores(), len(allowed)))]


COMMAND = """
import atexit, os, sys
def threads():
    import numpy, torch, threadpoolctl
    pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    print(torch.get_num_threads(), *pools, file=sys.stdout)
atexit.register(threads)
sys.argv = ["platorep", "cache", "list"]
from platorep.cli import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to use but one")
def test_a_command_starts_no_more_threads_than_it_has_cores(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    found = started(COMMAND, allowed, PLATOREP_CORES="1", PLATOREP_CACHE=str(tmp_path))
    assert found[-2:] == ["1", "1"]  # torch; all pools of BLAS and OpenMP


def test_threads_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, expected in (("7", "7"), (None, "3")):
        variables = {} if said is None else {machine.THREADS: said}
        monkeypatch.setattr(os, "environ", {"PLATOREP_CORES": "3"} | variables)
        machine.share_threads()
        assert os.environ[machine.THREADS] == expected
    monkeypatch.setattr(os, "environ", {"PLATOREP_CORES": "64"})
    machine.share_threads()  # the libraries find as many themselves
    assert machine.THREADS not in os.environ
