"""A Ray cluster of several nodes on this machine: every address the loopback one.

It lives in a process of its own, as a cluster does; this module is its program too.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
NODE: dict[str, Any] = {
    "num_cpus": 1,
    "node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "object_store_memory": 150 * 2**20,
}


class Cluster:
    """A head and nodes beside it, with a core each.

    Args:
        environment: Variables of all that runs there, beside those of this process.
    """

    def __init__(self, num_nodes: int, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(num_nodes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ) | dict(environment or {}),
        )
        self.address = self._answer()

    def add_node(self, **options: Any) -> None:
        self._tell(f"add {options!r}")

    def remove_node(self) -> None:
        """The one that came last."""
        self._tell("remove")

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _tell(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("done "):
                return line.split()[1]
        raise AssertionError(f"the cluster ended: {self._process.wait()}")


def main(num_nodes: int) -> None:
    """Start the nodes; then do what stdin says, until it ends."""
    import ast

    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes()
    try:
        added = [nodes.add_node(**NODE, wait=False) for _ in range(num_nodes)]
        nodes.wait_for_nodes(120)
        sys.stdout.write(f"done {nodes.address}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            what, _, options = line.partition(" ")
            if what == "add":
                added.append(nodes.add_node(**NODE | ast.literal_eval(options)))
            else:
                nodes.remove_node(added.pop(), allow_graceful=False)
            sys.stdout.write(f"done {nodes.address}\n")
            sys.stdout.flush()
    finally:
        nodes.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
