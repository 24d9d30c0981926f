//! OffsetDelete and DeleteGroups through a whole shard.

use klamm_types::{ErrorCode, ProducerId};

use super::TransactionEnd;
use super::testing::*;
use crate::call::{Call, DeleteOffsets};
use crate::reply::{DeletedOffsets, Reply};

/// A tombstone is the last word: an aborted or committed transaction does not bring the offset back.
#[test]
fn a_deleted_offset_is_not_pending_either() {
    let mut served = Served::orders(&[offset("g", "orders", 0, Some(noted(10)))]);
    let key = ("g".to_owned(), "orders".to_owned(), 1);
    served
        .shard
        .offsets_mut()
        .pending_mut()
        .write(ProducerId(1), key, noted(20));
    let reply = served.call(Call::DeleteGroup { group: "g".into() });
    assert_eq!(reply, Reply::DeleteGroup(ErrorCode::None));
    assert_eq!(
        served.log[1..],
        [offset("g", "orders", 0, None), offset("g", "orders", 1, None)]
    );
    assert!(!served.shard.offsets().has_group("g"));
    let pending = served.shard.offsets_mut().pending_mut();
    assert_eq!(pending.end(ProducerId(1), TransactionEnd::Committed), []);
}

fn delete(group: &str, topics: &[(&str, &[i32])]) -> Call {
    Call::DeleteOffsets(DeleteOffsets {
        group: group.into(),
        topics: topics
            .iter()
            .map(|(name, partitions)| ((*name).into(), partitions.to_vec()))
            .collect(),
    })
}

fn deleted(error: ErrorCode, topics: &[(&str, &[(i32, ErrorCode)])]) -> Reply {
    Reply::DeleteOffsets(DeletedOffsets {
        error,
        topics: topics
            .iter()
            .map(|(name, partitions)| ((*name).into(), partitions.to_vec()))
            .collect(),
    })
}

#[test]
fn offsets_are_deleted_one_by_one() {
    let mut served = Served::orders(&[offset("g", "orders", 0, Some(noted(10)))]);
    assert_eq!(
        served.call(delete("none", &[])),
        deleted(ErrorCode::GroupIdNotFound, &[])
    );
    assert_eq!(served.call(delete("", &[])), deleted(ErrorCode::InvalidGroupId, &[]));
    let reply = served.call(delete("g", &[("orders", &[0, 1, 9]), ("unknown", &[0])]));
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let orders = [(0, ErrorCode::None), (1, ErrorCode::None), (9, unknown)];
    let expected = deleted(ErrorCode::None, &[("orders", &orders), ("unknown", &[(0, unknown)])]);
    assert_eq!(reply, expected);
    // Only what existed gets a tombstone.
    assert_eq!(served.log[1..], [offset("g", "orders", 0, None)]);
}

#[test]
fn what_members_read_is_not_deleted() {
    let offsets = [
        offset("g", "orders", 0, Some(noted(10))),
        offset("g", "other", 0, Some(noted(10))),
    ];
    let mut served = Served::orders(&[&[classic("consumer", &["m"])], offsets.as_slice()].concat());
    let reply = served.call(delete("g", &[("orders", &[0]), ("other", &[0])]));
    let subscribed = [(0, ErrorCode::GroupSubscribedToTopic)];
    let expected = deleted(
        ErrorCode::None,
        &[("orders", &subscribed), ("other", &[(0, ErrorCode::None)])],
    );
    assert_eq!(reply, expected);
    assert_eq!(served.offsets("g"), [("orders".into(), 0, 10)]);

    // Of other members nobody knows what they read.
    let mut served = Served::orders(&[&[classic("connect", &["m"])], offsets.as_slice()].concat());
    let reply = served.call(delete("g", &[("other", &[0])]));
    assert_eq!(reply, deleted(ErrorCode::NonEmptyGroup, &[]));

    let mut served = Served::orders(&[&[classic("connect", &[])], offsets.as_slice()].concat());
    let reply = served.call(delete("g", &[("other", &[0])]));
    assert_eq!(reply, deleted(ErrorCode::None, &[("other", &[(0, ErrorCode::None)])]));
}

#[test]
fn a_group_is_deleted_with_its_offsets_unless_it_has_members() {
    let delete = || Call::DeleteGroup { group: "g".into() };
    let offsets = offset("g", "orders", 0, Some(noted(10)));
    let mut served = Served::orders(&[classic("consumer", &["m"]), offsets.clone()]);
    assert_eq!(served.call(delete()), Reply::DeleteGroup(ErrorCode::NonEmptyGroup));

    let mut served = Served::orders(&[classic("consumer", &[]), offsets.clone()]);
    assert_eq!(served.call(delete()), Reply::DeleteGroup(ErrorCode::None));
    assert_eq!(served.log[2..], [offset("g", "orders", 0, None), no_group()]);
    assert_eq!(served.call(delete()), Reply::DeleteGroup(ErrorCode::GroupIdNotFound));

    let mut served = Served::orders(&[offsets]);
    assert_eq!(served.call(delete()), Reply::DeleteGroup(ErrorCode::None));
    assert_eq!(served.log[1..], [offset("g", "orders", 0, None)]);
    assert_eq!(served.call(delete()), Reply::DeleteGroup(ErrorCode::GroupIdNotFound));
}

#[test]
fn an_offset_named_often_is_deleted_once() {
    let mut served = Served::orders(&[offset("g", "orders", 0, Some(noted(10)))]);
    served.call(delete("g", &[("orders", &[0, 0]), ("orders", &[0])]));
    assert_eq!(served.log[1..], [offset("g", "orders", 0, None)]);
}
