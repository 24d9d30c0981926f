"""Consumer groups with aiokafka, unchanged."""
import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from nodes import Killed, group_partition

PARTITIONS = 4
COUNT = 400


async def create(bootstrap, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 3)])
    await admin.close()


async def produce(bootstrap, topic, start=0, count=COUNT):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    for number in range(start, start + count):
        await producer.send(topic, b"%d" % number, partition=number % PARTITIONS)
    await producer.stop()


class Member:
    def __init__(self, bootstrap, topic, group):
        self.settings = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 500,
        }
        self.topic, self.seen, self.task = topic, [], None

    async def start(self):
        self.consumer = AIOKafkaConsumer(self.topic, **self.settings)
        await self.consumer.start()
        self.task = asyncio.create_task(self.read())
        return self

    async def read(self):
        while True:
            batches = await self.consumer.getmany(timeout_ms=200)
            self.seen += [int(record.value) for batch in batches.values() for record in batch]
            if batches:
                try:
                    await self.consumer.commit()
                except KafkaError:
                    pass  # A rebalance: what is not committed is read again.

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.consumer.stop()

    def assigned(self):
        return {where.partition for where in self.consumer.assignment()}


async def wait_for(condition, what, seconds=40):
    async def poll():
        while not condition():
            await asyncio.sleep(0.05)

    try:
        await asyncio.wait_for(poll(), seconds)
    except asyncio.TimeoutError as late:
        raise AssertionError(what) from late


def test_members_share_take_over_and_go_on(bootstrap, topic_name):
    async def story():
        await create(bootstrap, topic_name)
        members = [await Member(bootstrap, topic_name, f"{topic_name}-g").start() for _ in range(2)]
        await wait_for(lambda: [len(member.assigned()) for member in members] == [2, 2], "not shared")
        await produce(bootstrap, topic_name)
        await wait_for(lambda: len(members[0].seen) + len(members[1].seen) >= COUNT, "not everything was read")
        assert sorted(members[0].seen + members[1].seen) == list(range(COUNT))
        await members[0].stop()
        await wait_for(lambda: members[1].assigned() == set(range(PARTITIONS)), "nobody took over")
        await produce(bootstrap, topic_name, COUNT, 40)
        await wait_for(lambda: set(range(COUNT, COUNT + 40)) <= set(members[1].seen), "the one left does not read on")
        committed = await members[1].consumer.committed(TopicPartition(topic_name, 0))
        assert committed is not None and committed > 0
        await members[1].stop()

    asyncio.run(story())


def test_a_group_survives_its_coordinator(bootstrap, topic_name):
    async def story():
        group = f"{topic_name}-g"
        await create(bootstrap, topic_name)
        members = [await Member(bootstrap, topic_name, group).start() for _ in range(2)]
        await wait_for(lambda: [len(member.assigned()) for member in members] == [2, 2], "not shared")
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        [described] = await admin.describe_topics(["__consumer_offsets"])
        await admin.close()
        leaders = {one["partition"]: one["leader"] for one in described["partitions"]}
        await produce(bootstrap, topic_name, 0, 200)
        with Killed(leaders[group_partition(group)]):
            await produce(bootstrap, topic_name, 200, 200)
            read = lambda: set(range(COUNT)) <= set(members[0].seen) | set(members[1].seen)  # noqa: E731
            await wait_for(read, "the group does not read on without its first coordinator", 60)
        for member in members:
            await member.stop()

    asyncio.run(story())
