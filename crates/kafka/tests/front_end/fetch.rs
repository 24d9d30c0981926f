//! Fetch: sessions, limits, topic ids, codes for old clients, leader hints.

use klamm_broker::api::{FollowerReads, Isolation, LeaderHint, PartitionError};
use klamm_types::{ErrorCode, LeaderEpoch, NodeId, TopicId, TopicPartition, Uuid};
use klamm_wire::FetchRequest;
use klamm_wire::fetch_request::{FetchPartition, FetchTopic};
use klamm_wire::fetch_response::{EpochEndOffset, LeaderIdAndEpoch, PartitionData};

use crate::client::{Front, Reply};
use crate::fake::Fake;
use crate::produce::{batch, produce_of};
use crate::world::{Part, World};

/// Version-neutral: by name, with the limits of a common client. Version 13 and above need [`by_id`].
pub fn fetch_of(topic: &str, partition: i32, offset: i64) -> FetchRequest<'_> {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic,
            topic_id: Uuid::ZERO,
            partitions: vec![asked(partition, offset)],
        }],
        ..Default::default()
    }
}

fn asked(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }
}

fn by_id(id: u128, partition: i32, offset: i64) -> FetchRequest<'static> {
    let mut request = fetch_of("", partition, offset);
    request.topics[0].topic_id = Uuid::from_u128(id);
    request
}

async fn front() -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1, 2, 3]), Part::of(&[2, 3, 1])]);
    let front = Front::start(Fake::new(world)).await;
    front.call(&produce_of("t", 0, batch(b"v"), -1), 9).await;
    front
}

fn partition(number: i32) -> TopicPartition {
    klamm_broker::api::topic_partition(TopicId::from_u128(1), number)
}

fn codes(reply: &Reply) -> Vec<(i32, i16)> {
    let response = reply.read::<FetchRequest<'_>>();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| (partition.partition_index, partition.error_code))
        .collect()
}

#[tokio::test]
async fn every_version_returns_the_bytes_of_the_log() {
    let front = front().await;
    let stored = front.fake.with(|state| state.logs[&partition(0)][0].clone());
    for version in 4..=18 {
        let request = if version >= 13 {
            by_id(1, 0, 0)
        } else {
            fetch_of("t", 0, 0)
        };
        let reply = front.call(&request, version).await;
        let response = reply.read::<FetchRequest<'_>>();
        let expected = PartitionData {
            partition_index: 0,
            high_watermark: 1,
            last_stable_offset: 1,
            log_start_offset: if version >= 5 { 0 } else { -1 },
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Some(stored.clone()),
            ..Default::default()
        };
        assert_eq!(response.responses[0].partitions, [expected], "version {version}");
        assert_eq!(
            (response.error_code, response.session_id, response.throttle_time_ms),
            (0, 0, 0)
        );
    }
    let followers = front
        .fake
        .with(|state| state.fetches.iter().map(|fetch| fetch.followers).collect::<Vec<_>>());
    assert_eq!(followers[..7], [FollowerReads::Refused; 7]);
    assert_eq!(followers[7..], [FollowerReads::Allowed; 8]);
}

#[tokio::test]
async fn aborted_transactions_are_null_or_empty_by_isolation() {
    let front = front().await;
    let mut request = fetch_of("t", 0, 0);
    request.isolation_level = 1;
    let reply = front.call(&request, 11).await;
    let response = reply.read::<FetchRequest<'_>>();
    assert_eq!(
        response.responses[0].partitions[0].aborted_transactions,
        Some(Vec::new())
    );
    assert_eq!(
        front.fake.with(|state| state.fetches[0].isolation),
        Isolation::ReadCommitted
    );
}

#[tokio::test]
async fn sessions_are_declined() {
    let front = front().await;
    let (all, refused) = ((0, 1), (70, 0));
    for (id, epoch, expected) in [
        (0, 0, all),
        (0, -1, all),
        (5, -1, all),
        (5, 0, all),
        (5, 1, refused),
        (0, 3, refused),
    ] {
        let mut request = fetch_of("t", 0, 0);
        (request.session_id, request.session_epoch) = (id, epoch);
        let reply = front.call(&request, 11).await;
        let response = reply.read::<FetchRequest<'_>>();
        assert_eq!(
            (response.error_code, response.responses.len()),
            expected,
            "{id} {epoch}"
        );
        assert_eq!(response.session_id, 0);
    }
    // A Java consumer's last request: it ends its session and names nothing. Answered at once.
    let last = FetchRequest {
        session_epoch: -1,
        max_wait_ms: 60_000,
        min_bytes: 1,
        ..Default::default()
    };
    assert_eq!(
        front.call(&last, 18).await.read::<FetchRequest<'_>>(),
        Default::default()
    );
}

#[tokio::test]
async fn errors_are_answered_at_once_with_empty_records() {
    let front = front().await;
    let mut request = fetch_of("t", 0, 1);
    request.max_wait_ms = 60_000;
    request.topics[0].partitions.push(asked(9, 0));
    request.topics.push(FetchTopic {
        topic: "nope",
        topic_id: Uuid::ZERO,
        partitions: vec![asked(0, 0)],
    });
    let reply = front.call(&request, 11).await;
    assert_eq!(codes(&reply), [(0, 0), (9, 3), (0, 3)]);
    let response = reply.read::<FetchRequest<'_>>();
    let failed = PartitionData {
        partition_index: 0,
        error_code: 3,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: Some(Vec::new()),
        preferred_read_replica: -1,
        records: Some(bytes::Bytes::new()),
        ..Default::default()
    };
    assert_eq!(response.responses[1].partitions, [failed]);
}

#[tokio::test]
async fn unknown_ids_are_echoed() {
    let front = front().await;
    for id in [99, 0] {
        let reply = front.call(&by_id(id, 0, 0), 13).await;
        assert_eq!(codes(&reply), [(0, 100)]);
        assert_eq!(
            reply.read::<FetchRequest<'_>>().responses[0].topic_id,
            Uuid::from_u128(id)
        );
    }
    assert_eq!(codes(&front.call(&by_id(1, 7, 0), 13).await), [(7, 3)]);
}

#[tokio::test]
async fn a_partition_listed_twice_is_answered_once_and_the_last_entry_counts() {
    let front = front().await;
    let mut request = fetch_of("t", 0, 1);
    request.topics[0].partitions.push(asked(0, 0));
    assert_eq!(codes(&front.call(&request, 11).await), [(0, 0)]);
    let offsets = front.fake.with(|state| {
        state.fetches[0]
            .partitions
            .iter()
            .map(|one| one.fetch_offset.0)
            .collect::<Vec<_>>()
    });
    assert_eq!(offsets, [0]);
}

#[tokio::test]
async fn limits_are_put_into_bounds_or_refused() {
    let front = front().await;
    let mut request = fetch_of("t", 0, 0);
    (request.max_bytes, request.min_bytes, request.max_wait_ms) = (i32::MAX, -5, -7);
    front.call(&request, 11).await;
    let (max_bytes, min_bytes, max_wait) = front.fake.with(|state| {
        (
            state.fetches[0].max_bytes,
            state.fetches[0].min_bytes,
            state.fetches[0].max_wait,
        )
    });
    assert_eq!((max_bytes, min_bytes, max_wait.as_millis()), (57_671_680, 0, 0));
    type Change = fn(&mut FetchRequest<'_>);
    let changes: [(Change, i16); 3] = [
        (|request| request.isolation_level = 2, -1),
        // These are said of the partitions, not of the request.
        (|request| request.max_bytes = -1, 0),
        (|request| request.topics[0].partitions[0].partition_max_bytes = -1, 0),
    ];
    for (change, code) in changes {
        let mut request = fetch_of("t", 0, 0);
        change(&mut request);
        let reply = front.call(&request, 11).await;
        assert_eq!(
            (reply.read::<FetchRequest<'_>>().error_code, codes(&reply)),
            (code, vec![(0, -1)])
        );
    }
    let read = front
        .fake
        .with(|state| state.fetches.iter().map(|fetch| fetch.partitions.len()).sum::<usize>());
    assert_eq!(read, 1, "only the first request reads anything");
}

#[tokio::test]
async fn old_versions_get_the_codes_they_know() {
    let front = front().await;
    use ErrorCode::{CorruptMessage, FencedLeaderEpoch, KafkaStorageError, OffsetOutOfRange, UnknownLeaderEpoch};
    for (code, version, expected) in [
        (OffsetOutOfRange, 4, 1),
        (KafkaStorageError, 4, 6),
        (KafkaStorageError, 5, 6),
        (KafkaStorageError, 6, 56),
        (CorruptMessage, 4, 6),
        (CorruptMessage, 5, 2),
        (FencedLeaderEpoch, 12, 74),
        (UnknownLeaderEpoch, 12, 75),
    ] {
        front.fake.with(|state| state.errors.insert(partition(0), code.into()));
        assert_eq!(
            codes(&front.call(&fetch_of("t", 0, 0), version).await),
            [(0, expected)],
            "{code} {version}"
        );
    }
}

#[tokio::test]
async fn leaders_are_named_from_version_16_on() {
    let front = front().await;
    let hint = Some(LeaderHint {
        leader: Some(NodeId(3)),
        leader_epoch: LeaderEpoch(9),
    });
    for (code, named) in [
        (ErrorCode::NotLeaderOrFollower, true),
        (ErrorCode::FencedLeaderEpoch, true),
        (ErrorCode::UnknownLeaderEpoch, false),
    ] {
        let error = PartitionError {
            leader: hint,
            ..code.into()
        };
        front.fake.with(|state| state.errors.insert(partition(0), error));
        for version in [15, 16] {
            let reply = front.call(&by_id(1, 0, 0), version).await;
            let response = reply.read::<FetchRequest<'_>>();
            let (id, epoch) = if named && version >= 16 { (3, 9) } else { (-1, -1) };
            let expected = LeaderIdAndEpoch {
                leader_id: id,
                leader_epoch: epoch,
            };
            assert_eq!(
                response.responses[0].partitions[0].current_leader, expected,
                "{code} {version}"
            );
            let nodes: Vec<_> = response
                .node_endpoints
                .iter()
                .map(|node| (node.node_id, node.host, node.port))
                .collect();
            assert_eq!(nodes, if id == 3 { vec![(3, "h3", 9094)] } else { vec![] });
        }
    }
}

#[tokio::test]
async fn no_divergence_is_reported_unless_there_is_one() {
    let front = front().await;
    let reply = front.call(&fetch_of("t", 0, 0), 12).await;
    let response = reply.read::<FetchRequest<'_>>();
    let none = EpochEndOffset {
        epoch: -1,
        end_offset: -1,
    };
    assert_eq!(response.responses[0].partitions[0].diverging_epoch, none);
}

#[tokio::test]
async fn a_long_poll_ends_when_records_arrive() {
    let front = front().await;
    let mut client = front.client().await;
    let mut request = fetch_of("t", 0, 1);
    request.max_wait_ms = 600_000;
    client.send(&request, 11).await;
    front.fake.until(|state| state.fetches.len() == 1).await;
    front.call(&produce_of("t", 0, batch(b"new"), -1), 9).await;
    let reply = client.receive(11).await.unwrap();
    let response = reply.read::<FetchRequest<'_>>();
    assert_eq!(response.responses[0].partitions[0].high_watermark, 2);
}
