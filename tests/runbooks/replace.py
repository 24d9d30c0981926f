"""A node loses its disk under load, and is started with an empty one: nothing is lost, and it is a voter again."""
import shutil

from cluster import Cluster, say, until


def run(klamm):
    with Cluster(klamm, "Replacing a node that has lost its disk") as cluster:
        cluster.start_all()
        before = {voter["node"]: voter["directory"] for voter in cluster.json("quorum", "describe")["voters"]}
        cluster.under_load()
        cluster.kill(3)
        shutil.rmtree(cluster.nodes[3].data)
        until("the fence of node 3", lambda: "fenced" in cluster.typed("klamm cluster describe"))
        cluster.start(3)
        cluster.until_typed("klamm healthcheck --in-sync --address c.example:7080")
        say("node 3 has everything again")

        def voter_again():
            voters = {voter["node"]: voter["directory"] for voter in cluster.json("quorum", "describe")["voters"]}
            return set(voters) == {1, 2, 3} and voters[3] != before[3]

        until("node 3's return into the quorum", voter_again)
        cluster.typed("klamm quorum describe")
        cluster.verdict()
        cluster.typed("klamm doctor")
