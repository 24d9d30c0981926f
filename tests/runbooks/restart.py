"""Every node is stopped and started again, one after another, under load: no write fails."""
from cluster import HOSTS, Cluster, say


def run(klamm):
    with Cluster(klamm, "Restarting one node after another") as cluster:
        cluster.start_all()
        cluster.under_load()
        for number in cluster.nodes:
            for other in cluster.nodes:
                cluster.until_typed(f"klamm healthcheck --in-sync --address {HOSTS[other]}:7080")
            cluster.stop(number)
            cluster.start(number)
        cluster.all_in_sync()
        say("all three were restarted and are in sync")
        told = cluster.verdict()
        assert told["refused"] == told["unknown"] == 0, told
        cluster.typed("klamm doctor")
