"""confluent-kafka (librdkafka), unchanged."""
import pytest
from conftest import LINES
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType


@pytest.fixture
def servers(bootstrap):
    return {"bootstrap.servers": ",".join(bootstrap)}


@pytest.fixture
def admin(servers):
    return AdminClient(servers)


@pytest.fixture
def topic(admin, topic_name):
    admin.create_topics([NewTopic(topic_name, 3, 3)])[topic_name].result(15)
    return topic_name


def read(servers, topic, partition, count, offset=0):
    consumer = Consumer({**servers, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, offset)])
    records = []
    while len(records) < count:
        batch = consumer.consume(count - len(records), timeout=10)
        assert batch, f"{len(records)} of {count} records, then nothing for 10 s"
        for record in batch:
            if record.error():
                raise KafkaException(record.error())
            records.append(record)
    consumer.close()
    return records


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_is_produced_is_read_in_order(servers, topic, codec, idempotent):
    producer = Producer({**servers, "compression.type": codec, "enable.idempotence": idempotent, "linger.ms": 5})
    offsets, errors = [], []

    def delivered(error, message):
        errors.append(error) if error else offsets.append(message.offset())

    for line in LINES:
        producer.produce(topic, line, partition=0, callback=delivered)
    assert producer.flush(30) == 0
    assert errors == [] and sorted(offsets) == list(range(len(LINES)))
    assert [record.value() for record in read(servers, topic, 0, len(LINES))] == LINES


def test_keys_headers_and_timestamps(servers, topic):
    producer = Producer(servers)
    headers = [("trace", b"\x00\x01"), ("trace", b"again"), ("none", None)]
    producer.produce(topic, key="k", value="v", headers=headers, timestamp=1712562180000, partition=1)
    producer.produce(topic, key="k", value=None, timestamp=1712562181000, partition=1)
    assert producer.flush(20) == 0
    first, second = read(servers, topic, 1, 2)
    assert (first.key(), first.value(), first.headers(), first.timestamp()[1]) == (b"k", b"v", headers, 1712562180000)
    assert second.value() is None
    consumer = Consumer({**servers, "group.id": "none"})
    [found] = consumer.offsets_for_times([TopicPartition(topic, 1, 1712562180001)], timeout=10)
    assert found.offset == 1
    assert consumer.get_watermark_offsets(TopicPartition(topic, 1), timeout=10) == (0, 2)
    consumer.close()


def test_the_cluster_and_its_topics_are_described(admin, topic):
    cluster = admin.list_topics(timeout=10)
    assert len(cluster.brokers) == 3 and cluster.controller_id in cluster.brokers
    partitions = cluster.topics[topic].partitions
    assert sorted(partitions) == [0, 1, 2] and all(len(one.replicas) == 3 for one in partitions.values())
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(15)
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 4
    resource = ConfigResource(ResourceType.TOPIC, topic)
    settings = admin.describe_configs([resource])[resource].result(10)
    assert settings["min.insync.replicas"].value == "2" and settings["cleanup.policy"].value == "delete"
    admin.delete_topics([topic])[topic].result(15)
    assert topic not in admin.list_topics(timeout=10).topics


def test_bad_topics_are_refused(admin, topic):
    def code(new):
        with pytest.raises(KafkaException) as raised:
            admin.create_topics([new])[new.topic].result(15)
        return raised.value.args[0].name()

    assert code(NewTopic(topic, 1, 3)) == "TOPIC_ALREADY_EXISTS"
    assert code(NewTopic("bad name", 1, 3)) == "TOPIC_EXCEPTION"
    assert code(NewTopic(topic + "x", 1, 9)) == "INVALID_REPLICATION_FACTOR"
    assert code(NewTopic(topic + "x", 1, 3, config={"retention.ms": "soon"})) == "INVALID_CONFIG"
