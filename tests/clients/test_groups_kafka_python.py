"""Consumer groups with kafka-python, old and new, unchanged."""
import threading
import time

import kafka
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from nodes import Killed, group_partition

VERSION = tuple(int(part) for part in kafka.__version__.split(".")[:2])
PARTITIONS = 4
COUNT = 400


@pytest.fixture
def admin(bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield admin
    admin.close()


@pytest.fixture
def topic(admin, topic_name):
    admin.create_topics([NewTopic(topic_name, PARTITIONS, 3)])
    return topic_name


def send(producer, topic, start, count):
    sent = [producer.send(topic, b"%d" % number, partition=number % PARTITIONS) for number in range(start, start + count)]
    for future in sent:
        future.get(timeout=30)


def produce(bootstrap, topic, start=0, count=COUNT):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", retries=100)
    send(producer, topic, start, count)
    producer.close()


def consumer(bootstrap, topic, group, **settings):
    settings = {"auto_offset_reset": "earliest", "session_timeout_ms": 6000, "heartbeat_interval_ms": 500, **settings}
    return KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, **settings)


def values(batches):
    return [int(record.value) for batch in batches.values() for record in batch]


def read(one, count, seconds=30):
    """So many values, or what came in time."""
    seen, deadline = [], time.monotonic() + seconds
    while len(seen) < count and time.monotonic() < deadline:
        seen += values(one.poll(timeout_ms=500))
    return seen


class Member(threading.Thread):
    """A consumer in a thread of its own, committing what it has read."""

    def __init__(self, *arguments, **settings):
        # A test that fails leaves its members behind; they must not keep the process.
        super().__init__(daemon=True)
        self.arguments, self.settings = arguments, {"enable_auto_commit": False, **settings}
        self.seen, self.assigned, self.failure = [], frozenset(), None
        self.stopping = threading.Event()
        self.start()

    def run(self):
        one = consumer(*self.arguments, **self.settings)
        try:
            while not self.stopping.is_set():
                # Longer than a rebalance: kafka-python 3.0.12 drops a SyncGroup answer that comes just as poll gives up, and
                # then sends no heartbeat any more.
                got = values(one.poll(timeout_ms=2000))
                self.assigned = frozenset(one.assignment())
                if got:
                    self.seen += got
                    try:
                        one.commit()
                    except kafka.errors.KafkaError:
                        pass  # A rebalance: what is not committed is read again.
        except Exception as failure:  # noqa: BLE001: told by `stop`
            self.failure = failure
        finally:
            one.close()

    def stop(self):
        self.stopping.set()
        self.join(30)
        assert self.failure is None, self.failure


def wait_for(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_group_goes_on_where_it_stopped(bootstrap, topic):
    produce(bootstrap, topic)
    first = consumer(bootstrap, topic, f"{topic}-g")
    assert sorted(read(first, COUNT)) == list(range(COUNT))
    first.close()
    produce(bootstrap, topic, COUNT, 40)
    second = consumer(bootstrap, topic, f"{topic}-g")
    assert sorted(read(second, 40)) == list(range(COUNT, COUNT + 40))
    second.close()


def test_members_share_the_partitions_and_take_over(bootstrap, topic):
    members = [Member(bootstrap, topic, f"{topic}-g") for _ in range(2)]
    everything = frozenset(TopicPartition(topic, number) for number in range(PARTITIONS))

    def shared():
        one, other = (member.assigned for member in members)
        return len(one) == len(other) == 2 and one | other == everything

    wait_for(shared, "the partitions are not shared")
    produce(bootstrap, topic)
    wait_for(lambda: len(members[0].seen) + len(members[1].seen) >= COUNT, "not everything was read")
    assert sorted(members[0].seen + members[1].seen) == list(range(COUNT))
    members[0].stop()
    wait_for(lambda: members[1].assigned == everything, "nobody took over")
    produce(bootstrap, topic, COUNT, 40)
    wait_for(lambda: set(range(COUNT, COUNT + 40)) <= set(members[1].seen), "the one left does not read on")
    members[1].stop()


def test_offsets_are_committed_with_their_metadata(bootstrap, topic):
    produce(bootstrap, topic, count=8)
    one = consumer(bootstrap, topic, f"{topic}-g", enable_auto_commit=False)
    assert len(read(one, 8)) == 8
    where = TopicPartition(topic, 1)
    fields = {"offset": 1, "metadata": "half way"}
    if "leader_epoch" in kafka.structs.OffsetAndMetadata._fields:
        fields["leader_epoch"] = -1
    one.commit({where: kafka.structs.OffsetAndMetadata(**fields)})
    assert one.committed(where) == 1
    assert one.committed(where, metadata=True).metadata == "half way"
    assert one.committed(TopicPartition(topic, 2)) is None
    one.close()


@pytest.mark.skipif(VERSION < (2, 3), reason="kafka-python 2.0 has no static members")
def test_a_static_member_comes_back_without_a_rebalance(bootstrap, topic):
    settings = {"group_instance_id": "static-1", "session_timeout_ms": 20000}
    first = consumer(bootstrap, topic, f"{topic}-g", **settings)
    wait_for(lambda: first.poll(timeout_ms=100) is not None and first.assignment(), "no assignment")
    before = first._coordinator.generation_if_stable()
    # As a process that dies: without leaving the group.
    first.close(autocommit=False)
    second = consumer(bootstrap, topic, f"{topic}-g", **settings)
    wait_for(lambda: second.poll(timeout_ms=100) is not None and second.assignment(), "no assignment")
    after = second._coordinator.generation_if_stable()
    assert after.generation_id == before.generation_id
    assert after.member_id != before.member_id
    second.close()


def test_groups_are_listed_and_described(bootstrap, topic, admin):
    group = f"{topic}-g"
    one = consumer(bootstrap, topic, group)
    wait_for(lambda: one.poll(timeout_ms=100) is not None and one.assignment(), "no assignment")
    names = [entry[0] if isinstance(entry, tuple) else entry["group_id"] for entry in admin.list_consumer_groups()] \
        if VERSION < (3, 0) else [entry["group_id"] for entry in admin.list_groups()]
    assert group in names
    one.close()


def test_a_group_survives_its_coordinator(bootstrap, topic, admin):
    group = f"{topic}-g"
    members = [Member(bootstrap, topic, group) for _ in range(2)]
    wait_for(lambda: sum(len(member.assigned) for member in members) == PARTITIONS, "no assignment")
    described = admin.describe_topics(["__consumer_offsets"])[0]
    leaders = {}
    for partition in described["partitions"]:
        number = partition["partition"] if "partition" in partition else partition["partition_index"]
        leaders[number] = partition["leader"] if "leader" in partition else partition["leader_id"]
    coordinator = leaders[group_partition(group)]
    # Made before the kill: kafka-python 2.0.2 fails to start against a broker that dies under its first connection.
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", retries=100)
    send(producer, topic, 0, 200)
    with Killed(coordinator):
        send(producer, topic, 200, 200)
        wait_for(
            lambda: set(range(COUNT)) <= set(members[0].seen) | set(members[1].seen),
            "the group does not read on without its first coordinator",
            60,
        )
    producer.close()
    for member in members:
        member.stop()
    # What was read and committed is not read again by the next one, and nothing is skipped.
    produce(bootstrap, topic, COUNT, 8)
    late = consumer(bootstrap, topic, group)
    assert set(range(COUNT, COUNT + 8)) <= set(read(late, 8))
    late.close()
