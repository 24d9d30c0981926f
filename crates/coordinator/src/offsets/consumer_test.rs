//! The offset and group APIs on a KIP-848 group.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::{ErrorCode, TopicId};

use super::testing::*;
use crate::call::{Call, CommitOffsets, DeleteOffsets, FetchOffsets, ListGroups, Stability};
use crate::record::{Committed, ConsumerCurrent, ConsumerGroup, ConsumerMember, ConsumerTargetEpoch, Record};
use crate::reply::{DeletedOffsets, FetchedOffsets, ListedGroup, Reply};

/// Member `m` at epoch 5 reads `orders`; it has partition 0 since epoch 3 and partition 1 since epoch 5.
fn group() -> Vec<Record> {
    let (group, member) = (|| "g".to_owned(), || "m".to_owned());
    let orders = TopicId::from_u128(1);
    let metadata = ConsumerMember {
        instance: None,
        rack: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        subscribed_names: vec!["orders".into()],
        subscribed_regex: None,
        rebalance_timeout_ms: 60_000,
        server_assignor: None,
        classic: None,
    };
    let current = ConsumerCurrent {
        epoch: 5,
        previous_epoch: 4,
        state: 0,
        assigned: BTreeMap::from([(orders, BTreeMap::from([(0, 3), (1, 5)]))]),
        pending_revocation: BTreeMap::new(),
    };
    let mut records = vec![Record::ConsumerMember {
        group: group(),
        member: member(),
        value: Some(metadata),
    }];
    records.extend(empty_group());
    records.push(Record::ConsumerTarget {
        group: group(),
        member: member(),
        value: Some(BTreeMap::from([(orders, BTreeSet::from([0, 1]))])),
    });
    records.push(Record::ConsumerCurrent {
        group: group(),
        member: member(),
        value: Some(current),
    });
    records
}

/// Everybody has left.
fn empty_group() -> Vec<Record> {
    let epoch = ConsumerTargetEpoch { epoch: 5, timestamp: 0 };
    vec![
        Record::ConsumerGroup {
            group: "g".into(),
            value: Some(ConsumerGroup {
                epoch: 5,
                metadata_hash: 0,
            }),
        },
        Record::ConsumerTargetEpoch {
            group: "g".into(),
            value: Some(epoch),
        },
    ]
}

fn codes(served: &mut Served, call: CommitOffsets) -> Vec<i16> {
    let answer = served.commit(call);
    answer[0].partitions.iter().map(|(_, error)| *error as i16).collect()
}

#[test]
fn a_member_commits_at_its_epoch_or_for_what_it_has_had_since() {
    let mut served = Served::orders(&group());
    let call = |member: &str, epoch, partitions: &[i32]| CommitOffsets {
        generation: epoch,
        member: member.into(),
        ..simple(partitions.iter().map(|&number| partition(number, 42)).collect())
    };
    assert_eq!(codes(&mut served, call("m", 5, &[0, 1, 2])), [0, 0, 0]);
    assert_eq!(codes(&mut served, call("m", 4, &[0])), [0]);
    // One partition that it has lost, or got later, refuses the whole; not so one that does not exist.
    assert_eq!(codes(&mut served, call("m", 4, &[0, 1, 9])), [113, 113, 3]);
    assert_eq!(codes(&mut served, call("m", 4, &[0, 9])), [0, 3]);
    assert_eq!(codes(&mut served, call("m", 2, &[0])), [113]);
    assert_eq!(codes(&mut served, call("m", 6, &[0])), [113]);
    assert_eq!(codes(&mut served, call("x", 5, &[0])), [25]);
    assert_eq!(codes(&mut served, call("", -1, &[0])), [25]);
    let old = CommitOffsets {
        version: 8,
        ..call("m", 5, &[0])
    };
    assert_eq!(codes(&mut served, old), [35]);

    let mut served = Served::orders(&empty_group());
    assert_eq!(codes(&mut served, call("", -1, &[0])), [0]);
    assert_eq!(codes(&mut served, call("m", 5, &[0])), [25]);
}

#[test]
fn a_member_fetches_at_its_epoch() {
    let mut served = Served::orders(&group());
    let mut code = |member: Option<&str>, member_epoch| {
        let reply = served.call(Call::FetchOffsets(FetchOffsets {
            group: "g".into(),
            member: member.map(str::to_owned),
            member_epoch,
            topics: None,
            stability: Stability::Required,
        }));
        match reply {
            Reply::FetchOffsets(FetchedOffsets { error, topics }) if topics.is_empty() => error as i16,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code(None, -1), 0);
    assert_eq!(code(Some("m"), 5), 0);
    assert_eq!(code(Some("m"), 4), 113);
    assert_eq!(code(Some("m"), -1), 113);
    assert_eq!(code(Some("x"), 5), 25);
}

#[test]
fn what_its_members_read_is_not_deleted() {
    let mut served = Served::orders(&group());
    let call = DeleteOffsets {
        group: "g".into(),
        topics: vec![("orders".into(), vec![0]), ("other".into(), vec![0])],
    };
    let expected = DeletedOffsets {
        error: ErrorCode::None,
        topics: vec![
            ("orders".into(), vec![(0, ErrorCode::GroupSubscribedToTopic)]),
            ("other".into(), vec![(0, ErrorCode::None)]),
        ],
    };
    assert_eq!(served.call(Call::DeleteOffsets(call)), Reply::DeleteOffsets(expected));
    let reply = served.call(Call::DeleteGroup { group: "g".into() });
    assert_eq!(reply, Reply::DeleteGroup(ErrorCode::NonEmptyGroup));
}

#[test]
fn an_empty_group_is_deleted_with_all_its_records() {
    let mut log = empty_group();
    log.push(offset("g", "orders", 0, Some(committed(1))));
    let mut served = Served::orders(&log);
    let reply = served.call(Call::DeleteGroup { group: "g".into() });
    assert_eq!(reply, Reply::DeleteGroup(ErrorCode::None));
    let expected = [
        offset("g", "orders", 0, None),
        Record::ConsumerTargetEpoch {
            group: "g".into(),
            value: None,
        },
        Record::ConsumerGroup {
            group: "g".into(),
            value: None,
        },
    ];
    assert_eq!(served.log[3..], expected);
    assert_eq!(served.shard.groups().count(), 0);
}

/// Offsets go by their own age, whether or not the group is empty, unless a member reads the topic.
#[test]
fn its_offsets_expire_by_their_age() {
    let aged = |days: i64| Committed {
        commit_timestamp: START_MS - days * DAY_MS,
        topic_id: TopicId::ZERO,
        ..committed(1)
    };
    let mut log = empty_group();
    log.extend([
        offset("g", "orders", 0, Some(aged(8))),
        offset("g", "orders", 1, Some(aged(6))),
    ]);
    let mut served = Served::orders(&log);
    served.now_ms = 600_000;
    served.tick_all();
    assert_eq!(served.offsets("g"), [("orders".into(), 1, 1)]);
    served.now_ms = 2 * DAY_MS;
    served.tick_all();
    assert_eq!((served.offsets("g").len(), served.shard.groups().count()), (0, 0));
}

#[test]
fn it_is_listed_as_what_it_is_and_no_classic_group() {
    let mut served = Served::orders(&group());
    let listed = ListedGroup {
        group: "g".into(),
        protocol_type: "consumer".into(),
        state: "Stable".into(),
        kind: "consumer".into(),
    };
    let filter = ListGroups {
        states: vec!["stable".into()],
        types: vec!["Consumer".into()],
    };
    assert_eq!(served.call(Call::ListGroups(filter)), Reply::ListGroups(vec![listed]));
    let Reply::DescribeGroup(described) = served.call(Call::DescribeGroup { group: "g".into() }) else {
        panic!("another answer");
    };
    let message = described.message.as_deref();
    assert_eq!(
        (described.error, described.state.as_str(), message),
        (
            ErrorCode::GroupIdNotFound,
            "Dead",
            Some("Group g is not a classic group.")
        )
    );
}
