"""All controllers lose their stores; the metadata come from a backup, and the records are all there. What was decided
after the backup is shown: what became of a topic created then, of one deleted, of a setting changed. The node that is
restored first is one that had fallen behind."""
import shutil

from cluster import Cluster, say, until
from page import Commands

LINES = [f"line {number}" for number in range(1000)]
BACKUP = "/backup/klamm-metadata-monday"
ALL_HTTP = "a.example:7080,b.example:7080,c.example:7080"
RECOVER = f"klamm quorum recover --from {BACKUP} --data-dir /var/lib/klamm --node 1 --address a.example:9190"


def run(klamm):
    with Cluster(klamm, "Backing up the metadata") as cluster:
        cluster.start_all()
        for topic in ("orders", "parcels", "short-lived", "widened"):
            cluster.run("topic", "create", topic, "--partitions", "2", "--replication-factor", "3")
            cluster.write(topic, LINES[:500])
        cluster.run("group", "reset-offsets", "readers", "--topic", "orders", "--to", "end", "--execute")
        back_up(cluster)
        after_the_backup(cluster)
        restore(cluster)
        what_became(cluster)


def back_up(cluster):
    told = cluster.typed(f"klamm quorum backup --to {BACKUP} --http {ALL_HTTP}")
    say(told.splitlines()[1])
    assert cluster.typed(f"klamm quorum backup --check {BACKUP}") == told
    # Of a node that is not running; its partners go on.
    cluster.stop(2)
    cluster.typed("klamm quorum backup --to /backup/klamm-metadata-of-b --data-dir /var/lib/klamm", on=2)
    cluster.start(2)
    cluster.all_in_sync()
    cluster.commands.finish()


def after_the_backup(cluster):
    cluster.run("topic", "create", "too-late", "--partitions", "1", "--replication-factor", "3")
    cluster.write("too-late", LINES)
    cluster.run("topic", "alter", "widened", "--partitions", "3")
    cluster.run("topic", "delete", "short-lived")
    cluster.run("topic", "alter", "orders", "--config", "retention.ms=3600000")
    cluster.kill(1)
    for topic in ("orders", "parcels"):
        cluster.write(topic, LINES[500:])


def leaders(cluster, topic):
    (described,) = cluster.json("topic", "describe", topic)
    return {partition["leader"] for partition in described["partitions"]}


def restore(cluster):
    cluster.commands = Commands("Restoring the metadata")
    for number in cluster.nodes:
        cluster.kill(number)
        shutil.rmtree(cluster.nodes[number].data / "quorum")
    cluster.typed(f"{RECOVER} --dry-run")
    assert not (cluster.nodes[1].data / "quorum").exists()
    cluster.typed(RECOVER)
    for number in (1, 2):
        cluster.start(number)
        cluster.until_good(number, "/readyz")
        assert leaders(cluster, "orders") == leaders(cluster, "parcels") == {None}
    cluster.typed("klamm topic alter orders --config unclean.leader.election.enable=true")
    assert sorted(cluster.read("orders")) == sorted(LINES)
    cluster.typed("klamm topic alter orders --delete-config unclean.leader.election.enable")
    say("of two nodes the one with the longer log leads where it was told to; all else waits for the third")
    cluster.start(3)
    cluster.all_in_sync()
    assert cluster.voter_numbers() == [1]
    for number, host in ((2, "b.example"), (3, "c.example")):
        cluster.typed(f"klamm quorum add {number} {host}:9190")
    assert cluster.voter_numbers() == [1, 2, 3]
    cluster.typed("klamm doctor")
    say("three voters again")


def what_became(cluster):
    for topic in ("orders", "parcels"):
        assert sorted(cluster.read(topic)) == sorted(LINES)
    offsets = {entry["partition"]: entry["offset"] for entry in cluster.json("group", "offsets", "readers")}
    assert sum(offsets.values()) == 500, offsets
    say("all records are there, also those that node 1 missed after the backup, and the offsets of the group")
    topics = {topic["topic"] for topic in cluster.json("topic", "list")}
    assert "too-late" not in topics and "short-lived" in topics, topics
    for number in cluster.nodes:
        for folder in ("too-late-0", "widened-2"):
            until("the folder put aside", lambda: cluster.folders(number, rf"{folder}\..*-stray"))
    assert sorted(cluster.read("widened")) == sorted(LINES[:500])
    say("a topic created and a partition added after the backup are unknown: " + ", ".join(cluster.folders(1, ".*-stray")))
    assert cluster.read("short-lived") == []
    say("a topic deleted after the backup is back, without records")
    assert "retention.ms" not in cluster.run("topic", "describe", "orders")
    cluster.typed("klamm topic list")
