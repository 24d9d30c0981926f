"""One Kafka client as a program, so that clients of several environments work on one topic: kafka-python or confluent-kafka,
whichever is installed here.

    failover_client.py produce BOOTSTRAP TOPIC    each line of standard input becomes a record of partition 0; prints `LINE
                                                  OFFSET` for every acknowledgement, ends with an error if a record fails
    failover_client.py read BOOTSTRAP TOPIC       prints the values of partition 0 from its beginning to its end, as lines

It decides nothing about what is right: whoever starts it does.
"""
import os
import sys
import threading

# A dead leader must cost retries, never a record; whoever started this program ends it if it takes too long.
DELIVERY_MS = 120_000


def lines():
    for number, line in enumerate(sys.stdin.buffer):
        yield number, line.removesuffix(b"\n")


def acknowledged(number, offset):
    sys.stdout.write(f"{number} {offset}\n")
    sys.stdout.flush()


def fail(number, error):
    sys.stderr.write(f"line {number}: {error!r}\n")
    sys.stderr.flush()
    os._exit(1)


def kafka_python_settings():
    import kafka

    version = tuple(int(part) for part in kafka.__version__.split(".")[:2])
    if version >= (2, 1):
        return {"enable_idempotence": True, "delivery_timeout_ms": DELIVERY_MS}
    # 2.0 knows no idempotence and gives up at the first error unless told otherwise. With one request at a time nothing
    # overtakes a retry; but a batch whose acknowledgement died with the leader may be written a second time.
    return {"retries": 1_000_000, "max_in_flight_requests_per_connection": 1, "retry_backoff_ms": 50}


def kafka_python_produce(bootstrap, topic):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", **kafka_python_settings())
    for number, line in lines():
        future = producer.send(topic, value=line, partition=0)
        future.add_callback(lambda where, number=number: acknowledged(number, where.offset))
        future.add_errback(lambda error, number=number: fail(number, error))
    producer.flush()
    producer.close()


def kafka_python_read(bootstrap, topic):
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), enable_auto_commit=False)
    where = TopicPartition(topic, 0)
    consumer.assign([where])
    consumer.seek_to_beginning(where)
    end = consumer.end_offsets([where])[where]
    while consumer.position(where) < end:
        for records in consumer.poll(timeout_ms=500).values():
            yield from (record.value for record in records)
    consumer.close()


def confluent_produce(bootstrap, topic):
    from confluent_kafka import Producer

    settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "delivery.timeout.ms": DELIVERY_MS}
    producer = Producer(settings)
    ended = threading.Event()

    def serve():
        # Acknowledgements must come while the next line is awaited.
        while not ended.is_set():
            producer.poll(0.05)

    server = threading.Thread(target=serve)
    server.start()
    for number, line in lines():
        told = lambda error, message, number=number: fail(number, error) if error else acknowledged(number, message.offset())
        producer.produce(topic, line, partition=0, callback=told)
    producer.flush()
    ended.set()
    server.join()


def confluent_read(bootstrap, topic):
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.assign([TopicPartition(topic, 0, 0)])
    position = 0
    while position < end:
        for record in consumer.consume(1000, timeout=0.5):
            if record.error():
                raise KafkaException(record.error())
            position = record.offset() + 1
            yield record.value()
    consumer.close()


def main():
    what, bootstrap, topic = sys.argv[1:]
    try:
        import confluent_kafka  # noqa: F401

        produce, read = confluent_produce, confluent_read
    except ImportError:
        produce, read = kafka_python_produce, kafka_python_read
    if what == "produce":
        produce(bootstrap, topic)
    else:
        for value in read(bootstrap, topic):
            sys.stdout.buffer.write(value + b"\n")


main()
