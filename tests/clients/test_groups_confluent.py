"""Consumer groups with confluent-kafka (librdkafka), unchanged, by both protocols."""
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from nodes import Killed, group_partition

PARTITIONS = 4
COUNT = 400


@pytest.fixture
def servers(bootstrap):
    return {"bootstrap.servers": ",".join(bootstrap)}


@pytest.fixture
def admin(servers):
    return AdminClient(servers)


@pytest.fixture
def topic(admin, topic_name):
    admin.create_topics([NewTopic(topic_name, PARTITIONS, 3)])[topic_name].result(15)
    return topic_name


@pytest.fixture(params=["classic-range", "classic-cooperative-sticky", "consumer"])
def protocol(request):
    kind, _, strategy = request.param.partition("-")
    if kind == "consumer":
        return {"group.protocol": "consumer"}
    return {"partition.assignment.strategy": strategy, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500}


def produce(servers, topic, start=0, count=COUNT):
    producer = Producer({**servers, "enable.idempotence": True})
    failed = []
    for number in range(start, start + count):
        producer.produce(
            topic, b"%d" % number, partition=number % PARTITIONS, on_delivery=lambda error, _: error and failed.append(error)
        )
    assert producer.flush(30) == 0 and not failed


class Member:
    def __init__(self, servers, topic, group, protocol, **settings):
        self.consumer = Consumer(
            {**servers, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, **protocol, **settings}
        )
        self.consumer.subscribe([topic])
        self.seen = []

    def poll(self):
        got = self.consumer.consume(100, timeout=0.2)
        for message in got:
            if message.error():
                raise KafkaException(message.error())
            self.seen.append(int(message.value()))
        if got:
            try:
                self.consumer.commit(asynchronous=False)
            except KafkaException:
                pass  # A rebalance: what is not committed is read again.

    def assigned(self):
        return {where.partition for where in self.consumer.assignment()}


def run_until(members, condition, what, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        for member in members:
            member.poll()


def everything(members):
    return sorted(number for member in members for number in member.seen)


def test_members_share_take_over_and_go_on(servers, topic, protocol):
    group = f"{topic}-g"
    members = [Member(servers, topic, group, protocol) for _ in range(2)]
    run_until(members, lambda: sorted(len(member.assigned()) for member in members) == [2, 2], "not shared")
    assert members[0].assigned() | members[1].assigned() == set(range(PARTITIONS))
    produce(servers, topic)
    run_until(members, lambda: len(everything(members)) >= COUNT, "not everything was read")
    assert everything(members) == list(range(COUNT))
    members[0].consumer.close()
    left = members[1:]
    run_until(left, lambda: left[0].assigned() == set(range(PARTITIONS)), "nobody took over")
    produce(servers, topic, COUNT, 40)
    run_until(left, lambda: set(range(COUNT, COUNT + 40)) <= set(left[0].seen), "the one left does not read on")
    left[0].consumer.close()
    late = Member(servers, topic, group, protocol)
    produce(servers, topic, COUNT + 40, 8)
    run_until([late], lambda: len(late.seen) >= 8, "a new member does not go on where the group was")
    assert sorted(late.seen) == list(range(COUNT + 40, COUNT + 48))
    late.consumer.close()


def test_groups_are_listed_described_and_deleted(servers, admin, topic, protocol):
    group = f"{topic}-g"
    member = Member(servers, topic, group, protocol)
    run_until([member], lambda: member.assigned(), "no assignment")
    listed = admin.list_consumer_groups(request_timeout=10).result()
    assert group in {one.group_id for one in listed.valid} and not listed.errors
    described = admin.describe_consumer_groups([group], request_timeout=10)[group].result()
    assert described.state.name == "STABLE" and len(described.members) == 1
    owned = {where.partition for where in described.members[0].assignment.topic_partitions}
    assert owned == set(range(PARTITIONS))
    with pytest.raises(KafkaException):
        admin.delete_consumer_groups([group], request_timeout=10)[group].result()
    member.consumer.close()
    admin.delete_consumer_groups([group], request_timeout=10)[group].result()
    listed = admin.list_consumer_groups(request_timeout=10).result()
    assert group not in {one.group_id for one in listed.valid}


def test_offsets_are_read_and_set_from_outside(servers, admin, topic, protocol):
    from confluent_kafka import ConsumerGroupTopicPartitions

    group = f"{topic}-g"
    produce(servers, topic, count=40)
    member = Member(servers, topic, group, protocol)
    run_until([member], lambda: len(member.seen) >= 40, "not everything was read")
    member.consumer.close()
    listed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=10)[group].result()
    assert {(one.partition, one.offset) for one in listed.topic_partitions} == {(number, 10) for number in range(PARTITIONS)}
    back = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 2, 5)])
    admin.alter_consumer_group_offsets([back], request_timeout=10)[group].result()
    again = Member(servers, topic, group, protocol)
    run_until([again], lambda: len(again.seen) >= 5, "the offset that was set back is not read from")
    assert sorted(again.seen) == [number for number in range(40) if number % PARTITIONS == 2][5:]
    again.consumer.close()


def test_a_group_survives_its_coordinator(servers, admin, topic, protocol):
    group = f"{topic}-g"
    members = [Member(servers, topic, group, protocol) for _ in range(2)]
    run_until(members, lambda: sorted(len(member.assigned()) for member in members) == [2, 2], "not shared")
    offsets = admin.list_topics("__consumer_offsets", timeout=10).topics["__consumer_offsets"]
    coordinator = offsets.partitions[group_partition(group)].leader
    produce(servers, topic, 0, 200)
    with Killed(coordinator):
        produce(servers, topic, 200, 200)
        run_until(members, lambda: set(range(COUNT)) <= set(everything(members)), "the group does not read on", 60)
    for member in members:
        member.consumer.close()
