"""One node becomes three, all of them controllers, and then one controller again."""
from cluster import Cluster, say, until

HEADING = "From one controller to three, and back"
NEW = """klamm server --set node_id={number} --set data_dir=/var/lib/klamm
 --set controllers=1@a.example:9190,2@b.example:9190,3@c.example:9190
 --set listeners=HOST://0.0.0.0:9092 --set advertised_listeners=HOST://{host}:9092"""
BROKER = """klamm server --set node_id={number} --set data_dir=/var/lib/klamm --set roles=broker
 --set controllers=1@a.example:9190 --set grpc_advertised={host}:9190
 --set listeners=HOST://0.0.0.0:9092 --set advertised_listeners=HOST://{host}:9092"""
LINES = [f"line {number}" for number in range(1000)]


def command(text, number, host):
    return text.format(number=number, host=host).replace("\n", "")


def run(klamm):
    with Cluster(klamm, HEADING) as cluster:
        cluster.start(1, f"controllers=1@{cluster.nodes[1].grpc}")
        cluster.until_good(1, "/in-sync")
        cluster.run("topic", "create", "old", "--partitions", "3", "--replication-factor", "1")
        cluster.write("old", LINES)

        for number, host in ((2, "b.example"), (3, "c.example")):
            cluster.typed(command(NEW, number, host), on=number)
            cluster.until_good(number, "/in-sync")
            cluster.typed(f"klamm quorum add {number} {host}:9190")
        assert cluster.voter_numbers() == [1, 2, 3]
        cluster.stop(1)
        cluster.typed(command(NEW, 1, "a.example"), on=1)
        cluster.all_in_sync()
        say("three voters")
        grown(cluster)
        back(cluster)


def replicas(cluster, topic):
    (described,) = cluster.json("topic", "describe", topic)
    return [partition["replicas"] for partition in described["partitions"]]


def grown(cluster):
    """What was there before stays where it was; what is new is spread."""
    assert replicas(cluster, "old") == [[1], [1], [1]]
    cluster.typed("klamm topic create orders --partitions 3 --replication-factor 3")
    assert all(sorted(each) == [1, 2, 3] for each in replicas(cluster, "orders"))
    cluster.write("orders", LINES)
    cluster.kill(1)
    assert sorted(cluster.read("orders")) == sorted(LINES)
    cluster.start(1)
    cluster.all_in_sync()
    assert sorted(cluster.read("old")) == sorted(LINES)
    say("the new topic outlived the loss of a node; the old one lies on node 1 alone")


def back(cluster):
    for number in (3, 2):
        cluster.typed(f"klamm quorum remove {number}")
    until("one voter", lambda: cluster.voter_numbers() == [1])
    for number, host in ((2, "b.example"), (3, "c.example")):
        cluster.stop(number)
        cluster.typed(command(BROKER, number, host), on=number)
        cluster.all_in_sync()
    cluster.typed("klamm quorum describe")
    quorum = cluster.json("quorum", "describe")
    assert [voter["node"] for voter in quorum["voters"]] == [1], quorum
    assert sorted(cluster.read("orders")) == sorted(LINES)
    cluster.typed("klamm doctor")
    say("one voter, three brokers")
