//! ListOffsets and OffsetForLeaderEpoch.

use klamm_broker::api::{EpochEnd, FollowerReads, Isolation, ListedOffset, OffsetSpec};
use klamm_types::{ErrorCode, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use klamm_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use klamm_wire::list_offsets_response::ListOffsetsPartitionResponse;
use klamm_wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use klamm_wire::offset_for_leader_epoch_response::EpochEndOffset;
use klamm_wire::{ListOffsetsRequest, OffsetForLeaderEpochRequest};

use crate::client::{Front, Reply};
use crate::fake::Fake;
use crate::world::{Part, World};

async fn front() -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1]), Part::of(&[1])]);
    Front::start(Fake::new(world)).await
}

fn partition(number: i32) -> TopicPartition {
    klamm_broker::api::topic_partition(TopicId::from_u128(1), number)
}

fn list<'a>(topic: &'a str, asked: &[(i32, i64)]) -> ListOffsetsRequest<'a> {
    let one = |&(partition_index, timestamp): &(i32, i64)| ListOffsetsPartition {
        partition_index,
        current_leader_epoch: -1,
        timestamp,
    };
    let topics = vec![ListOffsetsTopic {
        name: topic,
        partitions: asked.iter().map(one).collect(),
    }];
    ListOffsetsRequest {
        replica_id: -1,
        topics,
        ..Default::default()
    }
}

fn listed(reply: &Reply) -> Vec<ListOffsetsPartitionResponse> {
    reply
        .read::<ListOffsetsRequest<'_>>()
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .collect()
}

fn codes(reply: &Reply) -> Vec<i16> {
    listed(reply).iter().map(|one| one.error_code).collect()
}

#[tokio::test]
async fn every_version_answers_offset_timestamp_and_epoch() {
    let front = front().await;
    let found = ListedOffset {
        offset: Offset(42),
        timestamp: Timestamp(1000),
        leader_epoch: LeaderEpoch(3),
    };
    front.fake.with(|state| state.listed.insert(partition(0), Ok(found)));
    for version in 1..=11 {
        let expected = ListOffsetsPartitionResponse {
            partition_index: 0,
            error_code: 0,
            timestamp: 1000,
            offset: 42,
            leader_epoch: if version >= 4 { 3 } else { -1 },
        };
        assert_eq!(
            listed(&front.call(&list("t", &[(0, 999)]), version).await),
            [expected],
            "version {version}"
        );
    }
}

#[tokio::test]
async fn nothing_found_is_no_error() {
    let front = front().await;
    let nothing = ListedOffset {
        offset: Offset::NONE,
        timestamp: Timestamp::NONE,
        leader_epoch: LeaderEpoch::NONE,
    };
    front.fake.with(|state| state.listed.insert(partition(0), Ok(nothing)));
    let expected = ListOffsetsPartitionResponse {
        partition_index: 0,
        error_code: 0,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    };
    assert_eq!(listed(&front.call(&list("t", &[(0, i64::MAX)]), 7).await), [expected]);
}

#[tokio::test]
async fn negative_timestamps_have_names_each_from_a_version_on() {
    let front = front().await;
    use OffsetSpec::{Earliest, EarliestLocal, EarliestPendingUpload, Latest, LatestTiered, MaxTimestamp};
    for (timestamp, from, spec) in [
        (-1, 1, Latest),
        (-2, 1, Earliest),
        (-3, 7, MaxTimestamp),
        (-4, 8, EarliestLocal),
        (-5, 9, LatestTiered),
        (-6, 11, EarliestPendingUpload),
    ] {
        assert_eq!(codes(&front.call(&list("t", &[(0, timestamp)]), from).await), [0]);
        assert_eq!(front.fake.with(|state| state.lookups.pop()).unwrap().spec, spec);
        if from > 1 {
            assert_eq!(
                codes(&front.call(&list("t", &[(0, timestamp)]), from - 1).await),
                [35],
                "{timestamp}"
            );
        }
    }
    for timestamp in [-7, i64::MIN] {
        assert_eq!(codes(&front.call(&list("t", &[(0, timestamp)]), 11).await), [35]);
    }
}

#[tokio::test]
async fn what_is_asked_reaches_the_broker() {
    let front = front().await;
    let mut asked = list("t", &[(1, -1)]);
    (asked.replica_id, asked.isolation_level) = (-2, 1);
    asked.topics[0].partitions[0].current_leader_epoch = 4;
    front.call(&asked, 7).await;
    let lookup = front.fake.with(|state| state.lookups.pop()).unwrap();
    assert_eq!(
        (
            lookup.partition,
            lookup.followers,
            lookup.isolation,
            lookup.current_leader_epoch
        ),
        (
            partition(1),
            FollowerReads::Allowed,
            Isolation::ReadCommitted,
            LeaderEpoch(4)
        )
    );
    front.call(&list("t", &[(1, -1)]), 7).await;
    assert_eq!(
        front.fake.with(|state| state.lookups.pop()).unwrap().followers,
        FollowerReads::Refused
    );
}

#[tokio::test]
async fn errors_by_partition_and_version() {
    let front = front().await;
    assert_eq!(
        codes(&front.call(&list("t", &[(0, -1), (1, -1), (0, -2), (9, -1)]), 7).await),
        [42, 0, 3]
    );
    assert_eq!(codes(&front.call(&list("nope", &[(0, -1)]), 7).await), [3]);
    let mut isolation = list("t", &[(0, -1)]);
    isolation.isolation_level = 2;
    assert_eq!(codes(&front.call(&isolation, 7).await), [-1]);
    for (code, version, expected) in [
        (ErrorCode::OffsetNotAvailable, 4, 5),
        (ErrorCode::OffsetNotAvailable, 5, 78),
        (ErrorCode::NotLeaderOrFollower, 1, 6),
        (ErrorCode::FencedLeaderEpoch, 4, 74),
        (ErrorCode::UnknownLeaderEpoch, 4, 75),
    ] {
        front
            .fake
            .with(|state| state.listed.insert(partition(0), Err(code.into())));
        assert_eq!(
            codes(&front.call(&list("t", &[(0, -1)]), version).await),
            [expected],
            "{code} {version}"
        );
    }
}

#[tokio::test]
async fn the_end_of_an_epoch() {
    let front = front().await;
    let end = EpochEnd {
        leader_epoch: LeaderEpoch(3),
        end_offset: Offset(77),
    };
    front.fake.with(|state| {
        state.epoch_ends.insert(partition(0), Ok(end));
        state
            .epoch_ends
            .insert(partition(1), Err(ErrorCode::FencedLeaderEpoch.into()));
    });
    let one = |partition| OffsetForLeaderPartition {
        partition,
        current_leader_epoch: 5,
        leader_epoch: 4,
    };
    for version in 2..=4 {
        let topics = vec![
            OffsetForLeaderTopic {
                topic: "t",
                partitions: vec![one(0), one(1), one(2)],
            },
            OffsetForLeaderTopic {
                topic: "nope",
                partitions: vec![one(0)],
            },
        ];
        let reply = front
            .call(&OffsetForLeaderEpochRequest { replica_id: -1, topics }, version)
            .await;
        let response = reply.read::<OffsetForLeaderEpochRequest<'_>>();
        let failed = |partition, error_code| EpochEndOffset {
            error_code,
            partition,
            leader_epoch: -1,
            end_offset: -1,
        };
        let found = EpochEndOffset {
            error_code: 0,
            partition: 0,
            leader_epoch: 3,
            end_offset: 77,
        };
        assert_eq!(
            response.topics[0].partitions,
            [found, failed(1, 74), failed(2, 3)],
            "version {version}"
        );
        assert_eq!(response.topics[1].partitions, [failed(0, 3)]);
    }
}
