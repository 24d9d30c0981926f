"""Every alert has its line in the page and stands on metrics that exist; a cluster in order raises none of their gauges."""
import re

from cluster import Cluster, say
from page import PAGE, section

ROOT = PAGE.parents[1]
# What must be zero, at all nodes together, while nothing is wrong.
QUIET = ["klamm_cluster_leaderless_partitions", "klamm_broker_under_min_isr_partitions", "klamm_broker_under_replicated_partitions"]


def names_of(text):
    """Metrics that are named; a histogram has three series under its name."""
    found = re.findall(r"klamm_[a-z_]+", text)
    return {re.sub(r"(_seconds)_(bucket|sum|count)$", r"\1", name) for name in found}


def run(klamm):
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    tests = (ROOT / "deploy/prometheus/alerts_test.yml").read_text()
    alerts = set(re.findall(r"alert: (\w+)", rules))
    told = set(re.findall(r"`(Klamm\w+)`", "".join(line for line in section("Metrics and alerts").splitlines() if line.startswith("| `"))))
    assert alerts == {name for name in told if name in alerts}, f"the page says nothing of {alerts - told}"
    assert not (untested := {name for name in alerts if f"alertname: {name}" not in tests}), f"no test raises {untested}"
    documented = names_of((ROOT / "docs/metrics.md").read_text())
    assert (used := names_of(rules)) <= documented, f"no metric is named {used - documented}"
    with Cluster(klamm, "Metrics and alerts") as cluster:
        cluster.start_all()
        pages = [cluster.nodes[number].ask("/metrics")[1] for number in cluster.nodes]
        for name in QUIET:
            values = [float(value) for page in pages for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)]
            assert values and not any(values), (name, values)
        leading = sum(float(value) for page in pages for value in re.findall(r"^klamm_quorum_active_controller (\S+)$", page, re.MULTILINE))
        assert leading == 1, leading
    say(f"{len(alerts)} alerts, {len(used)} metrics")
