//! The APIs of committed offsets: what reaches the coordinator, and what becomes of its answer in each version.

use klamm_broker::group::call::{CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Stability};
use klamm_broker::group::reply::{CommittedTopic, DeletedOffsets, FetchedOffsets, FetchedPartition, FetchedTopic};
use klamm_broker::group::{Call, Reply};
use klamm_types::{ErrorCode, TopicId, Uuid};
use klamm_wire::*;

use crate::client::Front;
use crate::fake::Fake;
use crate::world::{Part, World};

const UNKNOWN_ID: u128 = 999;

fn world() -> World {
    let mut world = World::three();
    world.topic("t", 20, &[Part::of(&[1, 2, 3]), Part::of(&[1, 2, 3])]);
    world
}

/// A front end whose coordinator gives these answers, one after another.
pub async fn front(replies: impl IntoIterator<Item = Result<Reply, ErrorCode>>) -> Front {
    let fake = Fake::new(world());
    fake.with(|state| state.group_replies.extend(replies));
    Front::start(fake).await
}

/// What the coordinator was asked last.
pub fn last_call(front: &Front) -> Call {
    front.fake.with(|state| state.calls.pop().unwrap())
}

#[tokio::test]
async fn a_commit_names_topics_by_name_or_id() {
    let known = TopicId::from_u128(20);
    for version in 2..=10 {
        let by_id = version >= 10;
        let committed = CommittedTopic {
            name: "t".to_owned(),
            id: known,
            partitions: vec![(0, ErrorCode::None)],
        };
        let front = front([
            Ok(Reply::CommitOffsets(vec![committed])),
            Err(ErrorCode::CoordinatorLoadInProgress),
        ])
        .await;
        let topic = |name, id: u128| offset_commit_request::OffsetCommitRequestTopic {
            name: if by_id { "" } else { name },
            topic_id: if by_id { Uuid::from_u128(id) } else { Uuid::ZERO },
            partitions: vec![offset_commit_request::OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 42,
                committed_leader_epoch: if version >= 6 { 5 } else { -1 },
                committed_metadata: Some("note"),
            }],
        };
        let mut topics = vec![topic("t", 20)];
        if by_id {
            topics.push(topic("", UNKNOWN_ID));
        }
        let request = OffsetCommitRequest {
            group_id: "g",
            generation_id_or_member_epoch: 3,
            member_id: "m",
            topics,
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<OffsetCommitRequest<'_>>();
        let mut codes: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| (topic.topic_id.to_u128(), topic.partitions[0].error_code))
            .collect();
        codes.sort_unstable();
        if by_id {
            assert_eq!(codes, [(20, 0), (UNKNOWN_ID, 100)]);
        } else {
            assert_eq!((codes, answer.topics[0].name), (vec![(0, 0)], "t"));
        }
        let Call::CommitOffsets(call) = last_call(&front) else {
            panic!("another call");
        };
        let expected = CommitTopic {
            name: "t".to_owned(),
            id: known,
            partitions: vec![CommitPartition {
                partition: 0,
                offset: 42,
                leader_epoch: if version >= 6 { 5 } else { -1 },
                metadata: Some("note".to_owned()),
            }],
        };
        assert_eq!(
            (call.version, call.generation, call.topics),
            (version, 3, vec![expected])
        );

        let loading = front.call(&request, version).await;
        let loading = loading.read::<OffsetCommitRequest<'_>>();
        assert!(loading.topics.iter().any(|topic| topic.partitions[0].error_code == 14));
    }
}

/// What no topic has is answered without the coordinator; a topic is answered once; one without partitions not at all.
#[tokio::test]
async fn a_commit_is_answered_topic_by_topic() {
    let committed = CommittedTopic {
        name: "t".to_owned(),
        id: TopicId::from_u128(20),
        partitions: vec![(0, ErrorCode::UnknownMemberId), (1, ErrorCode::UnknownMemberId)],
    };
    let front = front([Ok(Reply::CommitOffsets(vec![committed]))]).await;
    let topic = |name, partitions: &[i32]| offset_commit_request::OffsetCommitRequestTopic {
        name,
        partitions: partitions
            .iter()
            .map(|&partition_index| offset_commit_request::OffsetCommitRequestPartition {
                partition_index,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g",
        member_id: "nobody",
        topics: vec![
            topic("t", &[0, 7]),
            topic("none", &[0]),
            topic("t", &[1]),
            topic("t", &[]),
        ],
        ..Default::default()
    };
    let answer = front.call(&request, 9).await;
    let answer = answer.read::<OffsetCommitRequest<'_>>();
    let codes = |topic: &offset_commit_response::OffsetCommitResponseTopic<'_>| {
        let codes = topic.partitions.iter();
        let codes = codes.map(|partition| (partition.partition_index, partition.error_code));
        (topic.name.to_owned(), codes.collect::<Vec<_>>())
    };
    let expected = [
        ("none".to_owned(), vec![(0, 3)]),
        ("t".to_owned(), vec![(7, 3), (0, 25), (1, 25)]),
    ];
    assert_eq!(answer.topics.iter().map(codes).collect::<Vec<_>>(), expected);
}

fn fetched() -> FetchedOffsets {
    FetchedOffsets {
        error: ErrorCode::None,
        topics: vec![FetchedTopic {
            name: "t".to_owned(),
            id: TopicId::from_u128(20),
            partitions: vec![FetchedPartition {
                partition: 0,
                offset: 42,
                leader_epoch: 5,
                metadata: "note".to_owned(),
                error: ErrorCode::None,
            }],
        }],
    }
}

#[tokio::test]
async fn offsets_are_fetched_for_one_group() {
    for version in 1..=7 {
        let front = front([Ok(Reply::FetchOffsets(fetched())), Err(ErrorCode::NotCoordinator)]).await;
        let request = OffsetFetchRequest {
            group_id: "g",
            topics: Some(vec![offset_fetch_request::OffsetFetchRequestTopic {
                name: "t",
                partition_indexes: vec![0],
            }]),
            require_stable: version >= 7,
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<OffsetFetchRequest<'_>>();
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(
            (answer.topics[0].name, partition.committed_offset, partition.metadata),
            ("t", 42, Some("note"))
        );
        let expected = FetchOffsets {
            group: "g".to_owned(),
            member: None,
            member_epoch: -1,
            topics: Some(vec![FetchTopic {
                name: "t".to_owned(),
                id: TopicId::ZERO,
                partitions: vec![0],
            }]),
            stability: if version >= 7 {
                Stability::Required
            } else {
                Stability::Any
            },
        };
        assert_eq!(last_call(&front), Call::FetchOffsets(expected));
        let refused = front.call(&request, version).await;
        let refused = refused.read::<OffsetFetchRequest<'_>>();
        if version == 1 {
            assert_eq!(refused.topics[0].partitions[0].error_code, 16);
        } else {
            assert_eq!((refused.error_code, refused.topics.len()), (16, 0));
        }
    }
}

#[tokio::test]
async fn offsets_are_fetched_for_several_groups() {
    for version in 8..=10 {
        let front = front([Ok(Reply::FetchOffsets(fetched())), Err(ErrorCode::NotCoordinator)]).await;
        let topic = |id: u128| offset_fetch_request::OffsetFetchRequestTopics {
            name: if version < 10 { "t" } else { "" },
            topic_id: if version >= 10 { Uuid::from_u128(id) } else { Uuid::ZERO },
            partition_indexes: vec![0],
        };
        let mut topics = vec![topic(20)];
        if version >= 10 {
            topics.push(topic(UNKNOWN_ID));
        }
        let group = |group_id, topics| offset_fetch_request::OffsetFetchRequestGroup {
            group_id,
            member_id: (version >= 9).then_some("m"),
            member_epoch: if version >= 9 { 7 } else { -1 },
            topics,
        };
        let request = OffsetFetchRequest {
            groups: vec![group("g", Some(topics)), group("h", None)],
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<OffsetFetchRequest<'_>>();
        let seen: Vec<_> = answer.groups.iter().map(|one| (one.group_id, one.error_code)).collect();
        assert_eq!(seen, [("g", 0), ("h", 16)]);
        let codes: Vec<_> = answer.groups[0]
            .topics
            .iter()
            .map(|topic| (topic.topic_id.to_u128(), topic.partitions[0].error_code))
            .collect();
        let expected = if version >= 10 {
            vec![(20, 0), (UNKNOWN_ID, 100)]
        } else {
            vec![(0, 0)]
        };
        assert_eq!(codes, expected, "version {version}");
    }
}

#[tokio::test]
async fn offsets_are_deleted() {
    let replies = [
        Ok(Reply::DeleteOffsets(DeletedOffsets {
            error: ErrorCode::None,
            topics: vec![
                ("u".to_owned(), Vec::new()),
                ("t".to_owned(), vec![(0, ErrorCode::GroupSubscribedToTopic)]),
            ],
        })),
        Err(ErrorCode::NotCoordinator),
    ];
    let front = front(replies).await;
    let request = OffsetDeleteRequest {
        group_id: "g",
        topics: vec![offset_delete_request::OffsetDeleteRequestTopic {
            name: "t",
            partitions: vec![offset_delete_request::OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let answer = front.call(&request, 0).await;
    let answer = answer.read::<OffsetDeleteRequest<'_>>();
    assert_eq!((answer.error_code, answer.topics[0].partitions[0].error_code), (0, 86));
    let refused = front.call(&request, 0).await;
    assert_eq!(refused.read::<OffsetDeleteRequest<'_>>().error_code, 16);
}
