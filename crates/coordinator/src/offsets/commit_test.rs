//! OffsetCommit through a whole shard.

use klamm_types::{ErrorCode, TopicId};

use super::testing::*;
use crate::call::{Call, CommitOffsets, CommitPartition, CommitTopic, ListGroups};
use crate::record::Committed;
use crate::reply::{CommittedTopic, ListedGroup, Reply};

#[test]
fn a_client_without_membership_makes_a_group_by_committing() {
    let mut served = Served::orders(&[]);
    let answer = served.commit(simple(vec![partition(1, 42), partition(0, -5)]));
    let expected = CommittedTopic {
        name: "orders".into(),
        id: TopicId::ZERO,
        partitions: vec![(1, ErrorCode::None), (0, ErrorCode::None)],
    };
    assert_eq!(answer, [expected]);
    // Negative offsets are legal, and what is committed carries the topic's id.
    let log = [
        offset("g", "orders", 1, Some(committed(42))),
        offset("g", "orders", 0, Some(committed(-5))),
    ];
    assert_eq!(served.log, log);
    let listed = served.call(Call::ListGroups(ListGroups::default()));
    let group = ListedGroup {
        group: "g".into(),
        protocol_type: String::new(),
        state: "Empty".into(),
        kind: "classic".into(),
    };
    assert_eq!(listed, Reply::ListGroups(vec![group]));
    // A lower offset is a reset, not an error.
    assert_eq!(served.commit_code(simple(vec![partition(1, 3)])), ErrorCode::None);
    assert_eq!(served.offsets("g"), [("orders".into(), 0, -5), ("orders".into(), 1, 3)]);
}

#[test]
fn a_generation_of_no_group_has_a_code_of_its_version() {
    let mut served = Served::orders(&[]);
    let old = CommitOffsets {
        version: 8,
        ..of_member("m", 3)
    };
    assert_eq!(served.commit_code(old), ErrorCode::IllegalGeneration);
    assert_eq!(served.commit_code(of_member("m", 3)), ErrorCode::GroupIdNotFound);
    assert_eq!(served.commit_code(of_member("m", -1)), ErrorCode::None);
    // Now there is a group, but not the member.
    assert_eq!(served.commit_code(of_member("m", 3)), ErrorCode::UnknownMemberId);
}

#[test]
fn a_classic_group_accepts_its_members_at_their_generation() {
    let mut served = Served::orders(&[classic("consumer", &["m", "n"])]);
    let codes = [
        of_member("m", 5),
        of_member("m", 4),
        of_member("m", 6),
        of_member("m", -1),
        of_member("x", 5),
        of_member("", -1),
        CommitOffsets {
            instance: Some("i-m".into()),
            ..of_member("m", 5)
        },
        CommitOffsets {
            instance: Some("i-n".into()),
            ..of_member("m", 5)
        },
        CommitOffsets {
            instance: Some("i-x".into()),
            ..of_member("m", 5)
        },
    ]
    .map(|call| served.commit_code(call));
    let expected = [
        ErrorCode::None,
        ErrorCode::IllegalGeneration,
        ErrorCode::IllegalGeneration,
        ErrorCode::IllegalGeneration,
        ErrorCode::UnknownMemberId,
        ErrorCode::UnknownMemberId,
        ErrorCode::None,
        ErrorCode::FencedInstanceId,
        ErrorCode::UnknownMemberId,
    ];
    assert_eq!(codes, expected);
}

/// A member that only commits stays: its session begins anew with each commit.
#[test]
fn a_commit_is_a_sign_of_life() {
    let mut served = Served::orders(&[classic("consumer", &["m"])]);
    for _ in 0..4 {
        served.now_ms += 40_000;
        served.tick_all();
        assert_eq!(served.commit_code(of_member("m", 5)), ErrorCode::None);
    }
    served.now_ms += 46_000;
    served.tick_all();
    assert_eq!(served.commit_code(of_member("m", 5)), ErrorCode::UnknownMemberId);
}

#[test]
fn an_empty_classic_group_accepts_clients_without_membership() {
    let mut served = Served::orders(&[classic("consumer", &[])]);
    assert_eq!(served.commit_code(of_member("anyone", -1)), ErrorCode::None);
    assert_eq!(served.commit_code(of_member("m", 5)), ErrorCode::UnknownMemberId);
}

#[test]
fn a_partition_is_refused_for_itself() {
    let mut served = Served::orders(&[]);
    let with = |metadata: String| CommitPartition {
        metadata: Some(metadata),
        ..partition(2, 1)
    };
    let mut call = simple(vec![
        partition(0, 1),
        partition(3, 1),
        partition(-1, 1),
        with("é".repeat(4096)),
        with("é".repeat(4097)),
        // One character of Rust, two of Java.
        with("😀".repeat(2049)),
    ]);
    call.topics.push(CommitTopic {
        name: "unknown".into(),
        id: TopicId::ZERO,
        partitions: vec![partition(0, 1)],
    });
    let answer = served.commit(call.clone());
    let codes: Vec<ErrorCode> = answer
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|(_, code)| *code)
        .collect();
    let expected = [
        ErrorCode::None,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::None,
        ErrorCode::OffsetMetadataTooLarge,
        ErrorCode::OffsetMetadataTooLarge,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert_eq!(codes, expected);
    assert_eq!(served.log.len(), 2);

    // A refused member is told so for every partition that exists.
    call.generation = 5;
    let answer = served.commit(call);
    let codes: Vec<ErrorCode> = answer
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|(_, code)| *code)
        .collect();
    let expected = [25, 3, 3, 25, 25, 25, 3].map(|code| ErrorCode::from_code(code).unwrap());
    assert_eq!(codes, expected);
    assert_eq!(served.log.len(), 2);
}

/// Nothing to commit: nobody looks at the group.
#[test]
fn a_commit_that_names_nothing_known_is_not_checked() {
    let mut served = Served::orders(&[]);
    let mut call = of_member("m", 3);
    call.topics[0].name = "unknown".into();
    assert_eq!(served.commit_code(call.clone()), ErrorCode::UnknownTopicOrPartition);
    call.topics.clear();
    assert_eq!(served.commit(call), []);
    assert_eq!(served.log, []);
}

#[test]
fn an_explicit_retention_is_kept_and_obeyed() {
    let mut served = Served::orders(&[classic("consumer", &["m"])]);
    let call = CommitOffsets {
        retention_ms: 1000,
        version: 4,
        ..of_member("m", 5)
    };
    assert_eq!(served.commit_code(call), ErrorCode::None);
    let written = Committed {
        expire_timestamp: START_MS + 1000,
        leader_epoch: -1,
        topic_id: TopicId::ZERO,
        ..committed(42)
    };
    assert_eq!(served.log[1..], [offset("g", "orders", 0, Some(written))]);
    // As the log will tell the next coordinator.
    let (key, value) = served.log[1].to_bytes().unwrap();
    let read = crate::record::from_batch_record(Some(&key), value.as_ref());
    assert_eq!(read, Ok(Some(served.log[1].clone())));
}

/// Every record repeats the group's name.
#[test]
fn a_commit_whose_records_would_be_very_large_is_refused() {
    for (times, error) in [(200, ErrorCode::None), (300, ErrorCode::InvalidCommitOffsetSize)] {
        let mut served = Served::orders(&[]);
        let call = CommitOffsets {
            group: "g".repeat(32_000),
            ..simple(vec![partition(0, 42); times])
        };
        assert_eq!(served.commit_code(call), error);
        assert_eq!(served.log.len(), if error == ErrorCode::None { times } else { 0 });
    }
}
