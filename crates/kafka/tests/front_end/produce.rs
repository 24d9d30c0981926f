//! Produce: checks of the request, acknowledgements, leader hints.

use bytes::Bytes;
use klamm_broker::api::{Acks, LeaderHint, PartitionError, ProduceError};
use klamm_record::{BatchBuilder, BatchOptions};
use klamm_types::{ErrorCode, LeaderEpoch, LogStartOffset, NodeId, Offset, Timestamp, TopicId, TopicPartition, Uuid};
use klamm_wire::produce_request::{PartitionProduceData, TopicProduceData};
use klamm_wire::produce_response::{BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse};
use klamm_wire::{ApiVersionsRequest, ProduceRequest};

use crate::client::{Front, Reply};
use crate::fake::Fake;
use crate::world::{Part, World};

/// One batch of one record.
pub fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder
        .append(Timestamp(1_700_000_000_000), None, Some(value), &[])
        .unwrap();
    builder.build().unwrap().into_bytes()
}

pub fn produce_of(topic: &str, partition: i32, records: Bytes, acks: i16) -> ProduceRequest<'_> {
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![data(topic, &[(partition, Some(records))])],
        ..Default::default()
    }
}

fn data<'a>(name: &'a str, partitions: &[(i32, Option<Bytes>)]) -> TopicProduceData<'a> {
    let partition_data = partitions.iter().map(|(index, records)| PartitionProduceData {
        index: *index,
        records: records.clone(),
    });
    TopicProduceData {
        name,
        topic_id: Uuid::ZERO,
        partition_data: partition_data.collect(),
    }
}

async fn front() -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1, 2, 3]), Part::of(&[2, 3, 1])]);
    world.topic("__consumer_offsets", 2, &[Part::of(&[1])]);
    Front::start(Fake::new(world)).await
}

fn partition(topic: u128, number: i32) -> TopicPartition {
    klamm_broker::api::topic_partition(TopicId::from_u128(topic), number)
}

/// (partition, error) in the order of the answer.
fn codes(reply: &Reply) -> Vec<(i32, i16)> {
    let response = reply.read::<ProduceRequest<'_>>();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions
        .map(|partition| (partition.index, partition.error_code))
        .collect()
}

#[tokio::test]
async fn every_version_is_acknowledged() {
    let front = front().await;
    for (version, offset) in (3..=13).zip(0..) {
        let mut request = produce_of("t", 0, batch(b"v"), -1);
        if version >= 13 {
            request.topic_data[0].name = "";
            request.topic_data[0].topic_id = Uuid::from_u128(1);
        }
        let reply = front.call(&request, version).await;
        let response = reply.read::<ProduceRequest<'_>>();
        let acknowledged = PartitionProduceResponse {
            index: 0,
            base_offset: offset,
            log_append_time_ms: -1,
            log_start_offset: if version >= 5 { 0 } else { -1 },
            ..Default::default()
        };
        assert_eq!(
            response.responses[0].partition_responses,
            [acknowledged],
            "version {version}"
        );
        assert_eq!(response.throttle_time_ms, 0);
    }
    let acks = front
        .fake
        .with(|state| state.handed.iter().map(|batch| batch.acks).collect::<Vec<_>>());
    assert_eq!(acks, [Acks::All; 11]);
}

#[tokio::test]
async fn unknown_topics_and_partitions() {
    let front = front().await;
    let mut request = produce_of("nope", 0, batch(b"v"), -1);
    request.topic_data.push(data(
        "t",
        &[(7, Some(batch(b"v"))), (-1, Some(batch(b"v"))), (0, Some(batch(b"v")))],
    ));
    request.topic_data.push(data(".", &[(0, Some(batch(b"v")))]));
    assert_eq!(
        codes(&front.call(&request, 9).await),
        [(0, 3), (7, 3), (-1, 3), (0, 0), (0, 3)]
    );
    for unknown in [Uuid::from_u128(99), Uuid::ZERO] {
        let mut by_id = produce_of("", 0, batch(b"v"), -1);
        by_id.topic_data[0].topic_id = unknown;
        let reply = front.call(&by_id, 13).await;
        assert_eq!(codes(&reply), [(0, 100)]);
        assert_eq!(reply.read::<ProduceRequest<'_>>().responses[0].topic_id, unknown);
    }
}

#[tokio::test]
async fn the_shape_of_the_request_is_checked_in_order() {
    let front = front().await;
    // Null and empty records, no batch at all, old magic.
    let mut old = batch(b"v").to_vec();
    old[16] = 1;
    let mut request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        ..Default::default()
    };
    request.topic_data.push(data("t", &[(0, None)]));
    assert_eq!(codes(&front.call(&request, 9).await), [(0, 87)]);
    request.topic_data = vec![data("t", &[(0, Some(Bytes::new())), (1, Some(old.into()))])];
    assert_eq!(codes(&front.call(&request, 9).await), [(0, 87), (1, 87)]);
    // Unknown topic stays 3, bad shape 87; only then acks.
    request.acks = 2;
    request.topic_data = vec![
        data("nope", &[(0, None)]),
        data("t", &[(0, None), (1, Some(batch(b"v")))]),
    ];
    assert_eq!(codes(&front.call(&request, 9).await), [(0, 3), (0, 87), (1, 21)]);
    // Internal topics are not for producers.
    let internal = produce_of("__consumer_offsets", 0, batch(b"v"), -1);
    assert_eq!(codes(&front.call(&internal, 9).await), [(0, 17)]);
    assert!(front.fake.with(|state| state.handed.is_empty()));
}

#[tokio::test]
async fn zstd_needs_version_7_and_transactions_are_refused() {
    let front = front().await;
    let with_attributes = |attributes: u8| {
        let mut bytes = batch(b"v").to_vec();
        bytes[22] = attributes;
        Bytes::from(bytes)
    };
    let zstd = produce_of("t", 0, with_attributes(4), -1);
    assert_eq!(codes(&front.call(&zstd, 6).await), [(0, 76)]);
    let transactional = produce_of("t", 0, with_attributes(16), -1);
    assert_eq!(codes(&front.call(&transactional, 9).await), [(0, 53)]);
    let mut with_id = produce_of("t", 0, with_attributes(16), -1);
    with_id.transactional_id = Some("tx");
    assert_eq!(codes(&front.call(&with_id, 9).await), [(0, 35)]);
    assert!(front.fake.with(|state| state.handed.is_empty()));
}

#[tokio::test]
async fn a_partition_listed_twice_is_appended_once() {
    let front = front().await;
    let (first, last) = (batch(b"first"), batch(b"last"));
    let mut request = produce_of("t", 0, first.clone(), -1);
    request
        .topic_data
        .push(data("t", &[(1, Some(first)), (0, Some(last.clone()))]));
    request.topic_data.push(data("t", &[]));
    assert_eq!(codes(&front.call(&request, 9).await), [(1, 0), (0, 0)]);
    let appended = front.fake.with(|state| state.logs[&partition(1, 0)].clone());
    assert_eq!(appended.len(), 1);
    assert!(appended[0].ends_with(&last[61..]));
}

#[tokio::test]
async fn errors_carry_their_text_and_records() {
    let front = front().await;
    let error = PartitionError {
        code: ErrorCode::InvalidTimestamp,
        message: Some("too late".to_owned()),
        record_errors: vec![(3, "a day late".to_owned())],
        leader: None,
    };
    front.fake.with(|state| state.errors.insert(partition(1, 0), error));
    for version in [7, 8] {
        let reply = front.call(&produce_of("t", 0, batch(b"v"), -1), version).await;
        let told = version >= 8;
        let record = BatchIndexAndErrorMessage {
            batch_index: 3,
            batch_index_error_message: Some("a day late"),
        };
        let expected = PartitionProduceResponse {
            index: 0,
            error_code: 32,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: if told { vec![record] } else { Vec::new() },
            error_message: told.then_some("too late"),
            current_leader: LeaderIdAndEpoch {
                leader_id: -1,
                leader_epoch: -1,
            },
        };
        assert_eq!(
            reply.read::<ProduceRequest<'_>>().responses[0].partition_responses,
            [expected]
        );
    }
}

/// Out of time means "not known": the batch is in the log, and the answer says where.
#[tokio::test]
async fn out_of_time_names_the_offset() {
    let front = front().await;
    front.fake.with(|state| state.manual = true);
    let mut client = front.client().await;
    client.send(&produce_of("t", 0, batch(b"v"), -1), 9).await;
    front.fake.until(|state| state.waiting.len() == 1).await;
    let late = ProduceError {
        error: ErrorCode::RequestTimedOut.into(),
        base_offset: Offset(17),
        log_start_offset: LogStartOffset(4),
    };
    let waiting = front.fake.with(|state| state.waiting.pop_front()).unwrap();
    waiting.send(Err(late)).unwrap();
    let reply = client.receive(9).await.unwrap();
    let response = reply.read::<ProduceRequest<'_>>();
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(
        (answer.error_code, answer.base_offset, answer.log_start_offset),
        (7, 17, 4)
    );
}

#[tokio::test]
async fn not_the_leader_names_the_leader() {
    let front = front().await;
    // From the metadata, and better: from the partition itself.
    let told = LeaderHint {
        leader: Some(NodeId(3)),
        leader_epoch: LeaderEpoch(6),
    };
    for (hint, leader, epoch, rack) in [(None, 2, 5, None), (Some(told), 3, 6, Some("r3"))] {
        let error = PartitionError {
            leader: hint,
            ..ErrorCode::NotLeaderOrFollower.into()
        };
        front.fake.with(|state| state.errors.insert(partition(1, 1), error));
        let reply = front.call(&produce_of("t", 1, batch(b"v"), -1), 10).await;
        let response = reply.read::<ProduceRequest<'_>>();
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(
            (
                answer.error_code,
                answer.current_leader.leader_id,
                answer.current_leader.leader_epoch
            ),
            (6, leader, epoch)
        );
        let node = &response.node_endpoints[0];
        let port = 9091 + leader;
        assert_eq!(
            (node.node_id, node.host, node.port, node.rack),
            (leader, format!("h{leader}").as_str(), port, rack)
        );
        // Older versions have no place for it.
        assert_eq!(
            codes(&front.call(&produce_of("t", 1, batch(b"v"), -1), 9).await),
            [(1, 6)]
        );
    }
}

/// The vector of the protocol reference: topic "t" partition 0, error 6, leader 2 epoch 5 at h:9093.
#[tokio::test]
async fn the_answer_of_version_10_byte_by_byte() {
    let front = front().await;
    let told = LeaderHint {
        leader: Some(NodeId(2)),
        leader_epoch: LeaderEpoch(5),
    };
    let error = PartitionError {
        leader: Some(told),
        ..ErrorCode::NotLeaderOrFollower.into()
    };
    front.fake.with(|state| state.errors.insert(partition(1, 0), error));
    let reply = front.call(&produce_of("t", 0, batch(b"v"), -1), 10).await;
    let mut expected = vec![0, 0, 0, 1, 0, 2, 2, b't', 2, 0, 0, 0, 0, 0, 6];
    expected.extend_from_slice(&[0xff; 24]);
    expected.extend_from_slice(&[1, 0, 1, 0, 9, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[1, 0, 14, 2, 0, 0, 0, 2, 3, b'h', b'2', 0, 0, 0x23, 0x85, 0, 0]);
    assert_eq!(reply.bytes, expected);
}

#[tokio::test]
async fn without_acknowledgement_there_is_no_answer() {
    let front = front().await;
    let mut client = front.client().await;
    client.send(&produce_of("t", 0, batch(b"silent"), 0), 9).await;
    let asked = client.send(&ApiVersionsRequest::default(), 0).await;
    assert_eq!(client.receive(0).await.unwrap().correlation_id(), asked);
    assert_eq!(
        front.fake.with(|state| (state.handed.len(), state.handed[0].acks)),
        (1, Acks::None)
    );
    // A failure can be told only by closing.
    client.send(&produce_of("nope", 0, batch(b"lost"), 0), 9).await;
    assert!(client.is_closed().await);
}
