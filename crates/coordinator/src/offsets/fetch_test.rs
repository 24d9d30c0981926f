//! OffsetFetch through a whole shard.

use klamm_types::{ErrorCode, ProducerId, TopicId};

use super::TransactionEnd;
use super::testing::*;
use crate::call::Stability;
use crate::reply::{FetchedOffsets, FetchedPartition, FetchedTopic, Reply};

fn fetched(partition: i32, offset: i64, error: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        partition,
        offset,
        leader_epoch: if offset == -1 { -1 } else { 4 },
        metadata: if offset == -1 { String::new() } else { "note".into() },
        error,
    }
}

fn fetched_topics(topics: &[(&str, u128, Vec<FetchedPartition>)]) -> Reply {
    let topics = topics.iter().map(|(name, id, partitions)| FetchedTopic {
        name: (*name).into(),
        id: TopicId::from_u128(*id),
        partitions: partitions.clone(),
    });
    Reply::FetchOffsets(FetchedOffsets {
        error: ErrorCode::None,
        topics: topics.collect(),
    })
}

#[test]
fn what_was_committed_is_fetched() {
    let mut served = Served::orders(&[
        offset("g", "orders", 1, Some(noted(10))),
        offset("g", "orders", 0, Some(noted(11))),
        offset("h", "orders", 2, Some(noted(12))),
    ]);
    let call = fetch(Some(&[("orders", &[1, 2]), ("unknown", &[0])]), Stability::Any);
    let orders = vec![fetched(1, 10, ErrorCode::None), fetched(2, -1, ErrorCode::None)];
    let unknown = vec![fetched(0, -1, ErrorCode::None)];
    let expected = fetched_topics(&[("orders", 9, orders), ("unknown", 9, unknown)]);
    assert_eq!(served.call(call), expected);

    let all = vec![fetched(0, 11, ErrorCode::None), fetched(1, 10, ErrorCode::None)];
    let expected = fetched_topics(&[("orders", 1, all)]);
    assert_eq!(served.call(fetch(None, Stability::Required)), expected);
}

#[test]
fn a_group_that_does_not_exist_has_no_offsets_and_no_error() {
    let mut served = Served::orders(&[]);
    assert_eq!(served.call(fetch(None, Stability::Any)), fetched_topics(&[]));
    let expected = fetched_topics(&[("orders", 9, vec![fetched(0, -1, ErrorCode::None)])]);
    assert_eq!(served.call(fetch(Some(&[("orders", &[0])]), Stability::Any)), expected);
}

#[test]
fn an_open_transaction_holds_up_who_asks_for_stable_offsets() {
    let mut served = Served::orders(&[offset("g", "orders", 0, Some(noted(10)))]);
    let key = |partition| ("g".to_owned(), "orders".to_owned(), partition);
    let mut pending = served.shard.offsets().pending().clone();
    pending.write(ProducerId(1), key(0), noted(20));
    pending.write(ProducerId(1), key(1), noted(21));
    *served.shard.offsets_mut().pending_mut() = pending;

    let unstable = vec![
        fetched(0, -1, ErrorCode::UnstableOffsetCommit),
        fetched(1, -1, ErrorCode::UnstableOffsetCommit),
        fetched(2, -1, ErrorCode::None),
    ];
    let call = |stability| fetch(Some(&[("orders", &[0, 1, 2])]), stability);
    let expected = fetched_topics(&[("orders", 9, unstable.clone())]);
    assert_eq!(served.call(call(Stability::Required)), expected);
    let stable = vec![
        fetched(0, 10, ErrorCode::None),
        fetched(1, -1, ErrorCode::None),
        fetched(2, -1, ErrorCode::None),
    ];
    assert_eq!(
        served.call(call(Stability::Any)),
        fetched_topics(&[("orders", 9, stable)])
    );
    // Of all offsets, one that only a transaction has is left out.
    let expected = fetched_topics(&[("orders", 1, unstable[..1].to_vec())]);
    assert_eq!(served.call(fetch(None, Stability::Required)), expected);

    let pending = served.shard.offsets_mut().pending_mut();
    let visible = pending.end(ProducerId(1), TransactionEnd::Committed);
    assert_eq!(visible, [(key(0), noted(20)), (key(1), noted(21))]);
    assert_eq!(pending.end(ProducerId(1), TransactionEnd::Committed), []);
    let expected = fetched_topics(&[("orders", 1, vec![fetched(0, 10, ErrorCode::None)])]);
    assert_eq!(served.call(fetch(None, Stability::Required)), expected);
}
