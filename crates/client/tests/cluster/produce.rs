//! What is produced is read back: every codec, headers, nulls, order, and the errors that a producer meets.

use std::time::Duration;

use futures_util::future::join_all;
use klamm_client::{
    Acks, Client, Compression, ConsumerConfig, Guarantee, Header, ProducerConfig, ProducerConfigError, ProducerRecord,
    SendError, Start, Timestamp, partition_for_key,
};

use crate::support::{client, fresh_name, fresh_topic, read_all};

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_and_guarantee() {
    let client = client().await;
    for compression in Compression::ALL {
        for (acks, guarantee) in [
            (Acks::All, Guarantee::Idempotent),
            (Acks::All, Guarantee::AtLeastOnce),
            (Acks::Leader, Guarantee::AtMostOnce),
        ] {
            let config = ProducerConfig {
                compression,
                acks,
                guarantee,
                ..ProducerConfig::default()
            };
            round_trip(&client, config).await;
        }
    }
}

async fn round_trip(client: &Client, config: ProducerConfig) {
    let topic = fresh_topic(client, "codec", 1).await;
    let producer = client.producer(config).unwrap();
    let mut deliveries = Vec::new();
    for number in 0..300 {
        let mut record = ProducerRecord::to(topic.as_str())
            .key(format!("key-{number}"))
            .header("h", number.to_string())
            .header("h", "again")
            .timestamp(Timestamp(1_700_000_000_000 + number));
        record.headers.push(Header::null("none"));
        if number % 7 != 0 {
            record = record.value(format!("value {number} ").repeat(40));
        }
        deliveries.push(producer.send(record).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let delivery = delivery.await.unwrap();
        assert_eq!((delivery.partition.0, delivery.offset.0), (0, number as i64));
        assert_eq!(delivery.timestamp, Timestamp(1_700_000_000_000 + number as i64));
    }
    producer.close().await;
    // Counted, not read to the end: with fewer acknowledgements the readable end may lag behind.
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic(&topic, Start::Earliest).await.unwrap();
    let mut records = Vec::new();
    while records.len() < 300 {
        records.push(
            tokio::time::timeout(Duration::from_secs(30), consumer.recv())
                .await
                .unwrap()
                .unwrap(),
        );
    }
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record.offset.0, number as i64);
        assert_eq!(record.timestamp, Timestamp(1_700_000_000_000 + number as i64));
        assert_eq!(record.key.as_deref(), Some(format!("key-{number}").as_bytes()));
        let value = (number % 7 != 0).then(|| format!("value {number} ").repeat(40).into_bytes());
        assert_eq!(record.value.as_deref(), value.as_deref());
        let headers = [
            Header::new("h", number.to_string()),
            Header::new("h", "again"),
            Header::null("none"),
        ];
        assert_eq!(record.headers, headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_producers_at_once_keep_their_order() {
    let client = client().await;
    let topic = fresh_topic(&client, "four", 6).await;
    let produce = async |name: usize| {
        let producer = client.producer(ProducerConfig::default()).unwrap();
        let mut deliveries = Vec::new();
        for number in 0..5000 {
            let record = ProducerRecord::to(topic.as_str())
                .partition(number % 6)
                .value(format!("{name} {number:08}"));
            deliveries.push(producer.send(record).await.unwrap());
        }
        for delivery in join_all(deliveries).await {
            delivery.unwrap();
        }
        producer.close().await;
    };
    join_all((0..4).map(produce)).await;
    let records = read_all(&client, &topic).await;
    assert_eq!(records.values().map(Vec::len).sum::<usize>(), 20_000);
    for partition in records.values() {
        for name in 0..4 {
            let prefix = format!("{name} ");
            let of_producer = partition
                .iter()
                .filter(|record| record.value.as_ref().unwrap().starts_with(prefix.as_bytes()));
            let values: Vec<_> = of_producer.map(|record| record.value.clone().unwrap()).collect();
            assert!(
                values.is_sorted_by(|one, other| one < other),
                "in order, and none twice"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_spreading() {
    let client = client().await;
    let topic = fresh_topic(&client, "keys", 6).await;
    let producer = client
        .producer(ProducerConfig {
            batch_size: 500,
            ..ProducerConfig::default()
        })
        .unwrap();
    for number in 0..200 {
        let key = format!("key-{number}");
        let delivery = producer
            .send(ProducerRecord::to(topic.as_str()).key(key.clone()).value("v"))
            .await
            .unwrap();
        assert_eq!(delivery.partition().0 as usize, partition_for_key(key.as_bytes(), 6));
        delivery.await.unwrap();
    }
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let delivery = producer
            .send(ProducerRecord::to(topic.as_str()).value("v".repeat(50)))
            .await
            .unwrap();
        used.insert(delivery.partition());
    }
    producer.flush().await;
    assert_eq!(used.len(), 6, "records without a key reach all partitions");
    producer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_acknowledgement() {
    let client = client().await;
    let topic = fresh_topic(&client, "acks0", 1).await;
    let config = ProducerConfig {
        acks: Acks::NoneUnsafe,
        guarantee: Guarantee::AtMostOnce,
        ..Default::default()
    };
    let producer = client.producer(config).unwrap();
    for number in 0..100 {
        let delivery = producer
            .send(ProducerRecord::to(topic.as_str()).value(number.to_string()))
            .await
            .unwrap();
        assert_eq!(delivery.await.unwrap().offset.0, -1);
    }
    producer.close().await;
    // Another producer's acknowledged record comes after them: they went to the same leader earlier.
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let delivery = producer
        .send(ProducerRecord::to(topic.as_str()).value("last"))
        .await
        .unwrap();
    delivery.await.unwrap();
    producer.close().await;
    assert!(read_all(&client, &topic).await[&0].len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_producer_refuses() {
    let client = client().await;
    let topic = fresh_topic(&client, "refuse", 1).await;
    let bad = ProducerConfig {
        acks: Acks::Leader,
        ..ProducerConfig::default()
    };
    assert_eq!(
        client.producer(bad).err(),
        Some(ProducerConfigError::IdempotenceNeedsAllAcks)
    );
    let config = ProducerConfig {
        max_block: Duration::from_secs(2),
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).unwrap();
    let record = || ProducerRecord::to(topic.as_str());
    let refused = producer.send(record().partition(7)).await.err().unwrap();
    assert!(
        matches!(refused, SendError::UnknownPartition { count: 1, .. }),
        "{refused:?}"
    );
    let refused = producer.send(record().value(vec![0u8; 2 << 20])).await.err().unwrap();
    assert!(
        matches!(refused, SendError::TooLarge { .. }) && !refused.may_have_had_effect(),
        "{refused:?}"
    );
    let refused = producer
        .send(ProducerRecord::to("no such/topic").value("v"))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, SendError::Topic(_)), "{refused:?}");
    producer.send(record().value("good")).await.unwrap().await.unwrap();
    producer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_buffer_holds_the_sender_back() {
    let client = client().await;
    let topic = fresh_topic(&client, "buffer", 3).await;
    let config = ProducerConfig {
        buffer_memory: 64 * 1024,
        request_size_max: 32 * 1024,
        batch_size: 16 * 1024,
        linger: Duration::from_secs(1000),
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).unwrap();
    let mut deliveries = Vec::new();
    for _ in 0..1000 {
        deliveries.push(
            producer
                .send(ProducerRecord::to(topic.as_str()).value(vec![7u8; 1000]))
                .await
                .unwrap(),
        );
    }
    producer.close().await;
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(
        read_all(&client, &topic).await.values().map(Vec::len).sum::<usize>(),
        1000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_by_naming_it() {
    let client = client().await;
    let topic = fresh_name("auto");
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let delivery = producer
        .send(ProducerRecord::to(topic.as_str()).value("v"))
        .await
        .unwrap();
    assert_eq!(delivery.await.unwrap().offset.0, 0);
    producer.close().await;
}
