"""aiokafka, unchanged."""
import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from conftest import LINES


async def appears(admin, topic):
    """Any broker may be asked; all hear of a new topic in a moment."""
    while topic not in await admin.list_topics():
        await asyncio.sleep(0.01)


async def create(bootstrap, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 3)])
    await asyncio.wait_for(appears(admin, topic), 10)
    await admin.close()


async def produce(bootstrap, topic, codec, idempotent):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=idempotent, acks="all", linger_ms=5
    )
    await producer.start()
    sent = [await producer.send(topic, line, partition=0) for line in LINES]
    offsets = [(await future).offset for future in sent]
    await producer.stop()
    return offsets


async def read(bootstrap, topic, count):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    where = TopicPartition(topic, 0)
    consumer.assign([where])
    await consumer.seek_to_beginning(where)
    values = []
    while len(values) < count:
        values.append((await asyncio.wait_for(consumer.getone(), 10)).value)
    await consumer.stop()
    return values


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_is_produced_is_read_in_order(bootstrap, topic_name, codec, idempotent):
    async def story():
        await create(bootstrap, topic_name)
        assert await produce(bootstrap, topic_name, codec, idempotent) == list(range(len(LINES)))
        assert await read(bootstrap, topic_name, len(LINES)) == LINES

    asyncio.run(story())
