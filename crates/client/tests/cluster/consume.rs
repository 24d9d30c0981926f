//! Starting places, seeking, pausing, and what a consumer says about where it is.

use std::time::Duration;

use klamm_client::{
    Client, Consumer, ConsumerConfig, ConsumerRecord, Offset, OffsetReset, ProducerConfig, ProducerRecord, Start,
    Timestamp, TopicPartition,
};

use crate::support::{client, fresh_topic};

const WAIT: Duration = Duration::from_secs(10);

/// One partition with the values 0 to 99, one second apart from `Timestamp(1_000_000)` on.
async fn hundred(client: &Client) -> TopicPartition {
    let topic = fresh_topic(client, "consume", 1).await;
    let producer = client
        .producer(ProducerConfig {
            batch_size: 300,
            ..ProducerConfig::default()
        })
        .unwrap();
    for number in 0..100 {
        let record = ProducerRecord::to(topic.as_str()).value(number.to_string());
        drop(
            producer
                .send(record.timestamp(Timestamp(1_000_000 + number * 1000)))
                .await
                .unwrap(),
        );
    }
    producer.close().await;
    TopicPartition::new(topic, 0)
}

/// The next records. An empty answer only says that something else happened.
async fn next(consumer: &mut Consumer) -> Vec<ConsumerRecord> {
    let polling = async {
        loop {
            let records = consumer.poll(WAIT).await.unwrap();
            if !records.is_empty() {
                return records;
            }
        }
    };
    tokio::time::timeout(WAIT, polling).await.unwrap()
}

fn first(records: &[ConsumerRecord]) -> Option<i64> {
    records.first().map(|record| record.offset.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_places() {
    let client = client().await;
    let partition = hundred(&client).await;
    for (start, expected) in [
        (Start::Earliest, 0),
        (Start::Offset(Offset(41)), 41),
        (Start::Timestamp(Timestamp(1_049_500)), 50),
        (Start::Timestamp(Timestamp(0)), 0),
    ] {
        let mut consumer = client.consumer(ConsumerConfig::default());
        consumer.assign([(partition.clone(), start)]);
        let records = next(&mut consumer).await;
        assert_eq!(first(&records), Some(expected), "{start:?}");
    }
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign([(partition.clone(), Start::Latest)]);
    assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
    assert_eq!(consumer.position(&partition), Some(Offset(100)));
    let producer = client.producer(ProducerConfig::default()).unwrap();
    producer
        .send(ProducerRecord::to(partition.topic.clone()).value("new"))
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(first(&next(&mut consumer).await), Some(100));
    producer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_pause_and_resume() {
    let client = client().await;
    let partition = hundred(&client).await;
    let mut consumer = client.consumer(ConsumerConfig {
        poll_records_max: 10,
        ..ConsumerConfig::default()
    });
    consumer.assign([(partition.clone(), Start::Earliest)]);
    assert_eq!(first(&next(&mut consumer).await), Some(0));
    consumer.seek(&partition, Start::Offset(Offset(90))).unwrap();
    assert_eq!(consumer.position(&partition), Some(Offset(90)));
    assert_eq!(first(&next(&mut consumer).await), Some(90));
    consumer.seek(&partition, Start::Earliest).unwrap();
    consumer.pause(&partition).unwrap();
    assert!(consumer.poll(Duration::from_millis(700)).await.unwrap().is_empty());
    consumer.resume(&partition).unwrap();
    assert_eq!(first(&next(&mut consumer).await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_outside_the_log() {
    let client = client().await;
    let partition = hundred(&client).await;
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign([(partition.clone(), Start::Offset(Offset(1000)))]);
    let refused = async {
        loop {
            if let Err(failure) = consumer.poll(WAIT).await {
                return failure;
            }
        }
    };
    let failure = tokio::time::timeout(WAIT, refused)
        .await
        .expect("by default it is an error");
    assert!(!failure.may_have_had_effect(), "{failure:?}");
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = client.consumer(config);
    consumer.assign([(partition.clone(), Start::Offset(Offset(1000)))]);
    assert_eq!(first(&next(&mut consumer).await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_buffer_still_reads_everything() {
    let client = client().await;
    let topic = fresh_topic(&client, "tight", 4).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for number in 0..4000 {
        let record = ProducerRecord::to(topic.as_str())
            .partition(number % 4)
            .value(vec![b'x'; 500]);
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await;
    let config = ConsumerConfig {
        buffer_memory: 100_000,
        partition_fetch_bytes_max: 20_000,
        ..Default::default()
    };
    let mut consumer = client.consumer(config);
    consumer.assign_topic(&topic, Start::Earliest).await.unwrap();
    let (mut expected, mut count) = ([0; 4], 0);
    while count < 4000 {
        for record in next(&mut consumer).await {
            assert_eq!(record.offset.0, expected[record.partition.0 as usize]);
            expected[record.partition.0 as usize] += 1;
            count += 1;
        }
    }
}
