//! One broker alone.

use std::time::Duration;

use klamm_record::{BatchBuilder, BatchOptions};
use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, Offset, Timestamp};

use super::harness::*;
use crate::api::{
    Acks, EpochEnd, EpochEndRequest, FollowerReads, Isolation, ListOffsetRequest, ListedOffset, OffsetSpec,
    PartitionRole, ProduceRequest,
};
use crate::partitions::command::Command;
use crate::partitions::{LastStop, Stopped};

const LONG: Duration = Duration::from_secs(30);

async fn one_broker() -> Cluster {
    let cluster = Cluster::start(1).await;
    cluster.change(|meta| meta.create_topic(1, "orders", &[0], &[])).await;
    led(cluster.node(0), partition(1, 0)).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn produces_in_order_and_reads_back() {
    let cluster = one_broker().await;
    let (node, at) = (cluster.node(0), partition(1, 0));
    let mut tickets = Vec::new();
    for number in 0..100 {
        tickets.push(
            node.partitions
                .produce(request(at, batch(&[&format!("v{number}")])))
                .await,
        );
    }
    for (number, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().await.unwrap().base_offset, Offset(number as i64));
    }
    let expected: Vec<String> = (0..100).map(|number| format!("v{number}")).collect();
    assert_eq!(read(node, at, 100).await, expected);

    let status = node.partitions.statuses().await.remove(0);
    assert_eq!(
        (status.role, status.high_watermark),
        (PartitionRole::Leader, HighWatermark(100))
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_a_batch() {
    let cluster = one_broker().await;
    let (node, at) = (cluster.node(0), partition(1, 0));
    let at_once = node.partitions.fetch(fetch_request(at, 0, Duration::ZERO)).await;
    assert_eq!(values(&at_once[0]), Vec::<String>::new());

    let waiting = node.partitions.fetch(fetch_request(at, 0, LONG));
    let (answer, produced) = tokio::join!(waiting, produce(node, at, "late"));
    assert_eq!(produced.unwrap().base_offset, Offset(0));
    assert_eq!(values(&answer[0]), ["late"]);

    let short = node
        .partitions
        .fetch(fetch_request(at, 1, Duration::from_millis(20)))
        .await;
    assert_eq!(values(&short[0]), Vec::<String>::new());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_over_several_partitions_answers_each() {
    let cluster = one_broker().await;
    for topic in 2..20 {
        cluster
            .change(|meta| meta.create_topic(topic, &format!("t{topic}"), &[0], &[]))
            .await;
    }
    let node = cluster.node(0);
    for topic in 2..20 {
        led(node, partition(topic, 0)).await;
    }
    let mut request = fetch_request(partition(1, 0), 0, LONG);
    for topic in 2..20 {
        request
            .partitions
            .extend(fetch_request(partition(topic, 0), 0, LONG).partitions);
    }
    let waiting = node.partitions.fetch(request.clone());
    let (answer, produced) = tokio::join!(waiting, produce(node, partition(7, 0), "seven"));
    produced.unwrap();
    assert_eq!(answer.len(), 19);
    for fetched in &answer {
        let expected: &[&str] = if fetched.partition == partition(7, 0) {
            &["seven"]
        } else {
            &[]
        };
        assert_eq!(values(fetched), expected);
    }

    request
        .partitions
        .push(fetch_request(partition(99, 0), 0, LONG).partitions[0]);
    request.min_bytes = usize::MAX;
    let answer = node.partitions.fetch(request).await;
    let codes: Vec<ErrorCode> = answer
        .iter()
        .filter_map(|one| one.result.as_ref().err())
        .map(|e| e.code)
        .collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_and_epochs_are_listed() {
    let cluster = one_broker().await;
    let (node, at) = (cluster.node(0), partition(1, 0));
    for value in ["a", "b", "c"] {
        produce(node, at, value).await.unwrap();
    }
    let list = |spec| {
        node.partitions.list_offset(ListOffsetRequest {
            partition: at,
            current_leader_epoch: LeaderEpoch::NONE,
            spec,
            isolation: Isolation::ReadUncommitted,
            followers: FollowerReads::Refused,
        })
    };
    let listed = |offset, timestamp| ListedOffset {
        offset: Offset(offset),
        timestamp: Timestamp(timestamp),
        leader_epoch: LeaderEpoch(if offset < 0 { -1 } else { 0 }),
    };
    assert_eq!(list(OffsetSpec::Latest).await, Ok(listed(3, -1)));
    assert_eq!(list(OffsetSpec::Earliest).await, Ok(listed(0, -1)));
    assert_eq!(
        list(OffsetSpec::AtOrAfter(Timestamp(5))).await,
        Ok(listed(0, 1_700_000_000_000))
    );
    assert_eq!(
        list(OffsetSpec::AtOrAfter(Timestamp(1_700_000_000_001))).await,
        Ok(listed(-1, -1))
    );
    assert_eq!(list(OffsetSpec::LatestTiered).await, Ok(listed(-1, -1)));

    let request = EpochEndRequest {
        partition: at,
        current_leader_epoch: LeaderEpoch(0),
        leader_epoch: LeaderEpoch(0),
    };
    let end = node.partitions.epoch_end(request).await;
    assert_eq!(
        end,
        Ok(EpochEnd {
            leader_epoch: LeaderEpoch(0),
            end_offset: Offset(3)
        })
    );
    let request = EpochEndRequest {
        current_leader_epoch: LeaderEpoch(4),
        ..request
    };
    let end = node.partitions.epoch_end(request).await;
    assert_eq!(end.unwrap_err().code, ErrorCode::UnknownLeaderEpoch);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_carry_their_codes() {
    let cluster = one_broker().await;
    let (node, at) = (cluster.node(0), partition(1, 0));
    let unknown = produce(node, partition(9, 0), "x").await.unwrap_err();
    assert_eq!(unknown.error.code, ErrorCode::UnknownTopicOrPartition);
    let bad = ProduceRequest {
        records: bytes::Bytes::from_static(b"x"),
        ..request(at, batch(&["x"]))
    };
    let bad = node.partitions.produce(bad).await.wait().await.unwrap_err();
    assert_eq!(bad.error.code, ErrorCode::InvalidRecord);
    let out_of_range = node.partitions.fetch(fetch_request(at, 7, LONG)).await;
    assert_eq!(
        out_of_range[0].result.as_ref().unwrap_err().code,
        ErrorCode::OffsetOutOfRange
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_restart() {
    let mut cluster = one_broker().await;
    let at = partition(1, 0);
    for value in ["a", "b"] {
        produce(cluster.node(0), at, value).await.unwrap();
    }
    assert_eq!(cluster.take(0).stop().await, Stopped::Clean);
    cluster.add(0, LastStop::Clean).await;
    let found = &cluster.node(0).report.replicas[0];
    assert_eq!(
        (found.partition, found.log_end_offset, found.last_epoch),
        (at, Offset(2), LeaderEpoch(0))
    );
    // The same epoch is never led twice.
    cluster.change(|meta| meta.change(at, Some(0), &[0])).await;
    led(cluster.node(0), at).await;
    let produced = produce(cluster.node(0), at, "c").await.unwrap();
    assert_eq!(produced.base_offset, Offset(2));
    assert_eq!(read(cluster.node(0), at, 3).await, ["a", "b", "c"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_under_its_name_begins_empty() {
    let cluster = one_broker().await;
    let node = cluster.node(0);
    produce(node, partition(1, 0), "old").await.unwrap();
    // Both in one image: the new partition waits until the old directory is put aside.
    cluster
        .change(|meta| {
            meta.remove_topic(1);
            meta.create_topic(2, "orders", &[0], &[("file.delete.delay.ms", "0")]);
        })
        .await;
    led(node, partition(2, 0)).await;
    assert_eq!(
        produce(node, partition(2, 0), "new").await.unwrap().base_offset,
        Offset(0)
    );
    assert_eq!(read(node, partition(2, 0), 1).await, ["new"]);
    let gone = produce(node, partition(1, 0), "x").await.unwrap_err();
    assert_eq!(gone.error.code, ErrorCode::UnknownTopicOrPartition);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_none_is_answered_too() {
    let cluster = one_broker().await;
    let at = partition(1, 0);
    let produce = ProduceRequest {
        acks: Acks::None,
        ..request(at, batch(&["quiet"]))
    };
    cluster.node(0).partitions.produce(produce).await.wait().await.unwrap();
    assert_eq!(read(cluster.node(0), at, 1).await, ["quiet"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_moves_the_log_start() {
    let cluster = one_broker().await;
    let (node, at) = (cluster.node(0), partition(1, 0));
    // Written long ago by its timestamp, and the topic keeps seven days.
    produce(node, at, "old").await.unwrap();
    for worker in &node.partitions.shared.workers {
        worker.push(Command::Retain).unwrap();
    }
    assert_eq!(
        produce(node, at, "new").await.unwrap().log_start_offset,
        LogStartOffset(1)
    );
    let gone = node.partitions.fetch(fetch_request(at, 0, LONG)).await;
    assert_eq!(gone[0].result.as_ref().unwrap_err().code, ErrorCode::OffsetOutOfRange);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_keeps_the_newest_record_of_each_key() {
    let cluster = one_broker().await;
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.0"),
    ];
    cluster
        .change(|meta| meta.create_topic(9, "compacted", &[0], &settings))
        .await;
    let (node, at) = (cluster.node(0), partition(9, 0));
    led(node, at).await;
    let filling = "f".repeat(600_000);
    // Each of the large ones but the first begins a segment.
    let large = ("filling", filling.as_str());
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), large, large, large] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder
            .append(Timestamp(1), Some(key.as_bytes()), Some(value.as_bytes()), &[])
            .unwrap();
        let records = builder.build().unwrap().into_bytes();
        let produced = node.partitions.produce(request(at, records)).await.wait().await;
        produced.unwrap();
    }
    while node.partitions.metrics().compactions.get() == 0 {
        for worker in &node.partitions.shared.workers {
            worker.push(Command::Compact).unwrap();
        }
        tokio::task::yield_now().await;
    }
    let metrics = node.partitions.metrics();
    assert_eq!(
        (metrics.compacted_segments.get(), metrics.compaction_failures.get()),
        (1, 0)
    );
    assert!(metrics.compaction_freed_bytes.get() > 600_000);
    let first = node.partitions.fetch(fetch_request(at, 0, LONG)).await;
    assert_eq!(values(&first[0])[..2], ["1", "2"]);
    // A placeholder is left of the first large one; what follows lies in the next segment.
    let placeholder = node.partitions.fetch(fetch_request(at, 3, LONG)).await;
    assert_eq!(values(&placeholder[0]), Vec::<String>::new());
    assert_eq!(placeholder[0].result.as_ref().unwrap().records.len(), 1);
    let rest = node.partitions.fetch(fetch_request(at, 4, LONG)).await;
    assert_eq!(values(&rest[0])[0], filling);
    cluster.stop().await;
}
