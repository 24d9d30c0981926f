"""kafka-python, old and new, unchanged: list, create, produce with every codec, read back, seek, timestamps."""
import kafka
import pytest
from conftest import LINES
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic, NewPartitions

VERSION = tuple(int(part) for part in kafka.__version__.split(".")[:2])
IDEMPOTENCE = [False, True] if VERSION >= (2, 1) else [None]


@pytest.fixture
def admin(bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield admin
    admin.close()


@pytest.fixture
def topic(admin, topic_name):
    admin.create_topics([NewTopic(topic_name, 3, 3)])
    return topic_name


def read(bootstrap, topic, partition, count, offset=0):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=10000, enable_auto_commit=False)
    where = TopicPartition(topic, partition)
    consumer.assign([where])
    consumer.seek(where, offset)
    records = []
    while len(records) < count:
        before = len(records)
        for batch in consumer.poll(timeout_ms=5000).values():
            records.extend(batch)
        assert len(records) > before, f"{len(records)} of {count} records, then nothing for 5 s"
    consumer.close()
    return records


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", IDEMPOTENCE)
def test_what_is_produced_is_read_in_order(bootstrap, topic, codec, idempotent):
    settings = {"bootstrap_servers": bootstrap, "acks": "all", "compression_type": codec, "linger_ms": 5}
    if idempotent is not None:
        settings["enable_idempotence"] = idempotent
    producer = KafkaProducer(**settings)
    sent = [producer.send(topic, value=line, partition=0) for line in LINES]
    producer.flush(timeout=30)
    assert [future.get(timeout=10).offset for future in sent] == list(range(len(LINES)))
    producer.close()
    records = read(bootstrap, topic, 0, len(LINES))
    assert [record.value for record in records] == LINES
    assert [record.offset for record in records] == list(range(len(LINES)))


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_acks_setting(bootstrap, topic, acks):
    if acks == 0 and VERSION == (2, 3):
        pytest.skip("kafka-python 2.3 calls acks=0 records sent and never writes them: Apache Kafka gets none either")
    settings = {"enable_idempotence": False} if VERSION >= (2, 1) else {}
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks=acks, **settings)
    for line in LINES[:10]:
        producer.send(topic, value=line, partition=1)
    producer.flush(timeout=30)
    # With acks=0 nothing tells when the broker has the records, and closing too early throws them away.
    values = [record.value for record in read(bootstrap, topic, 1, 10)]
    producer.close()
    assert values == LINES[:10]


def test_keys_headers_and_timestamps(bootstrap, topic):
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    headers = [("trace", b"\x00\x01"), ("trace", b"again"), ("empty", b"")]
    producer.send(topic, key=b"k", value=b"v", headers=headers, timestamp_ms=1712562180000, partition=2).get(timeout=10)
    producer.send(topic, key=b"k", value=None, timestamp_ms=1712562181000, partition=2).get(timeout=10)
    producer.close()
    first, second = read(bootstrap, topic, 2, 2)
    assert (first.key, first.value, list(first.headers), first.timestamp) == (b"k", b"v", headers, 1712562180000)
    assert (second.key, second.value) == (b"k", None)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    where = TopicPartition(topic, 2)
    found = consumer.offsets_for_times({where: 1712562180001})[where]
    assert (found.offset, found.timestamp) == (1, 1712562181000)
    assert consumer.beginning_offsets([where]) == {where: 0}
    assert consumer.end_offsets([where]) == {where: 2}
    assert consumer.offsets_for_times({where: 1712562189999}) in ({where: None}, {})
    consumer.close()


def test_topics_are_listed_grown_and_deleted(bootstrap, admin, topic):
    assert topic in admin.list_topics()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    assert consumer.partitions_for_topic(topic) == {0, 1, 2}
    consumer.close()
    admin.create_partitions({topic: NewPartitions(5)})
    fresh = KafkaConsumer(bootstrap_servers=bootstrap)
    assert fresh.partitions_for_topic(topic) == {0, 1, 2, 3, 4}
    admin.delete_topics([topic])
    assert topic not in admin.list_topics()
    fresh.close()


def test_a_topic_that_exists_is_refused(admin, topic):
    with pytest.raises(kafka.errors.TopicAlreadyExistsError):
        answer = admin.create_topics([NewTopic(topic, 1, 3)])
        raise AssertionError(answer)


def test_an_unknown_topic_is_created_at_the_first_record(bootstrap, topic_name):
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.send(topic_name, value=b"first").get(timeout=20)
    producer.close()
    assert [record.value for record in read(bootstrap, topic_name, 0, 1)] == [b"first"]
