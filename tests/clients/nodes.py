"""The nodes under the tests: killed, started again, and which of them coordinates a group."""
import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

CLUSTER = Path(os.environ.get("CLUSTER_DIR", "."))


def dev(action, node):
    subprocess.run([os.environ["KLAMM"], "dev", action, str(node), "--in", str(CLUSTER)], check=True)


def described():
    return json.loads((CLUSTER / "cluster.json").read_text())


def ready(node):
    """Waits until a node serves; it says so itself."""
    address = next(one["http"] for one in described()["nodes"] if one["id"] == node)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"node {node} did not come back")


def group_partition(group, partitions=50):
    """Where a group belongs: Java's hash of its name."""
    number = 0
    units = group.encode("utf-16-be")
    for at in range(0, len(units), 2):
        number = (31 * number + int.from_bytes(units[at : at + 2], "big")) & 0xFFFFFFFF
    if number >= 1 << 31:
        number -= 1 << 32
    return (0 if number == -(1 << 31) else abs(number)) % partitions


class Killed:
    """Kills a node, and lets it come back at the end."""

    def __init__(self, node):
        self.node = node

    def __enter__(self):
        dev("kill", self.node)

    def __exit__(self, *_):
        dev("start", self.node)
        ready(self.node)
