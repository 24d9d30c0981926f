//! Reading several partitions at a time: all of them whole and in order, some paused, some not there yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use klamm_client::{
    Client, ConsumeError, Consumer, ConsumerConfig, ConsumerRecord, HighWatermark, Offset, PartitionId, ProducerConfig,
    ProducerRecord, Start, Timestamp, TopicPartition,
};

use crate::support::{client, fresh_name, fresh_topic};

const WAIT: Duration = Duration::from_secs(5);

/// Puts `count` records into each partition; their values are their numbers, their timestamps ten times that.
async fn fill(client: &Client, topic: &str, partitions: i32, count: i64) {
    let producer = client
        .producer(ProducerConfig {
            batch_size: 2000,
            ..ProducerConfig::default()
        })
        .unwrap();
    let mut deliveries = Vec::new();
    for number in 0..count {
        for partition in 0..partitions {
            let record = ProducerRecord::to(topic)
                .partition(partition)
                .timestamp(Timestamp(number * 10));
            deliveries.push(producer.send(record.value(number.to_string())).await.unwrap());
        }
    }
    assert!(join_all(deliveries).await.iter().all(Result::is_ok));
    producer.close().await;
}

/// Reads until so many records have come.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while records.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records", records.len());
        records.extend(consumer.poll(WAIT).await.unwrap());
    }
    records
}

fn check(records: &[ConsumerRecord], from: i64) {
    let mut next: BTreeMap<PartitionId, i64> = BTreeMap::new();
    for record in records {
        let next = next.entry(record.partition).or_insert(from);
        assert_eq!(record.offset, Offset(*next));
        assert_eq!(record.value.as_deref(), Some(next.to_string().as_bytes()));
        assert_eq!(record.timestamp, Timestamp(*next * 10));
        *next += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_everywhere() {
    let client = client().await;
    let topic = fresh_topic(&client, "starts", 3).await;
    fill(&client, &topic, 3, 500).await;
    let cases = [
        (Start::Earliest, 0),
        (Start::Offset(Offset(123)), 123),
        (Start::Timestamp(Timestamp(2995)), 300),
        (Start::Timestamp(Timestamp(-5)), 0),
    ];
    for (start, from) in cases {
        let mut consumer = client.consumer(ConsumerConfig {
            poll_records_max: 70,
            ..ConsumerConfig::default()
        });
        assert_eq!(consumer.assign_topic(&topic, start).await.unwrap(), 3);
        let records = read(&mut consumer, 3 * (500 - from as usize)).await;
        check(&records, from);
        let ends = consumer.end_offsets().await.unwrap();
        assert!(consumer.has_reached(&ends), "{:?}", consumer.positions());
        let partition = TopicPartition::new(topic.as_str(), 1);
        assert_eq!(
            (ends[&partition], consumer.position(&partition)),
            (Offset(500), Some(Offset(500)))
        );
        assert_eq!(consumer.high_watermark(&partition), Some(HighWatermark(500)));
        assert_eq!(consumer.lag(&partition), Some(0));
        assert_eq!(consumer.beginning_offsets().await.unwrap()[&partition], Offset(0));
        assert_eq!(consumer.poll(Duration::from_millis(50)).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_comes_later() {
    let client = client().await;
    let topic = fresh_topic(&client, "latest", 1).await;
    fill(&client, &topic, 1, 10).await;
    for start in [Start::Latest, Start::Timestamp(Timestamp(1_000_000))] {
        let mut consumer = client.consumer(ConsumerConfig::default());
        consumer.assign_topic(&topic, start).await.unwrap();
        let end = consumer.end_offsets().await.unwrap();
        while !consumer.has_reached(&end) {
            assert_eq!(consumer.poll(WAIT).await.unwrap(), []);
        }
        fill(&client, &topic, 1, 1).await;
        let record = consumer.recv().await.unwrap();
        assert_eq!(Some(&record.offset), end.values().next());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_and_seeking() {
    let client = client().await;
    let topic = fresh_topic(&client, "pause", 2).await;
    fill(&client, &topic, 2, 300).await;
    let (zero, one) = (
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    );
    let mut consumer = client.consumer(ConsumerConfig {
        poll_records_max: 10,
        ..ConsumerConfig::default()
    });
    consumer.assign([(zero.clone(), Start::Earliest), (one.clone(), Start::Earliest)]);
    read(&mut consumer, 50).await;
    consumer.pause(&zero).unwrap();
    let (stays, reads) = (consumer.position(&zero), consumer.position(&one).unwrap());
    let records = read(&mut consumer, 300 - reads.0 as usize).await;
    check(&records, reads.0);
    assert!(records.iter().all(|record| record.partition == one.partition));
    assert_eq!(
        (consumer.paused(), consumer.position(&zero)),
        (vec![zero.clone()], stays)
    );
    consumer.resume(&zero).unwrap();
    let from = stays.map_or(0, |offset| offset.0);
    check(&read(&mut consumer, 300 - from as usize).await, from);
    consumer.seek(&zero, Start::Offset(Offset(290))).unwrap();
    check(&read(&mut consumer, 10).await, 290);
    consumer.unassign(&zero);
    assert_eq!((consumer.assignment(), consumer.position(&zero)), (vec![one], None));
    assert!(matches!(
        consumer.seek(&zero, Start::Earliest),
        Err(ConsumeError::NotAssigned { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there() {
    let client = client().await;
    let config = klamm_client::ClientConfig {
        api_timeout: Duration::from_millis(300),
        auto_create_topics: false,
        ..client.config().clone()
    };
    let hasty = Client::connect(config).await.unwrap();
    let mut consumer = hasty.consumer(ConsumerConfig::default());
    let name = fresh_name("missing");
    consumer.assign([(TopicPartition::new(name.as_str(), 0), Start::Earliest)]);
    let failure = consumer.poll(WAIT).await.unwrap_err();
    assert!(
        matches!(failure, ConsumeError::Unavailable { .. }) && failure.is_retriable(),
        "{failure:?}"
    );
    assert!(matches!(
        consumer.end_offsets().await,
        Err(ConsumeError::Unavailable { .. })
    ));
    let failure = consumer
        .assign_topic(&fresh_name("missing"), Start::Earliest)
        .await
        .unwrap_err();
    assert!(matches!(failure, ConsumeError::Topic(_)), "{failure:?}");
    // It is read once it is there.
    let topic = klamm_client::admin::NewTopic::new(&name).partitions(1);
    client.admin().create_topic(topic).await.unwrap();
    fill(&client, &name, 1, 5).await;
    let mut records = Vec::new();
    while records.len() < 5 {
        match consumer.poll(WAIT).await {
            Ok(more) => records.extend(more),
            Err(failure) => assert!(failure.is_retriable(), "{failure:?}"),
        }
    }
    check(&records, 0);
}
