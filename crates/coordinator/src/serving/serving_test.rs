//! Rounds, waits and refusals of a shard that serves.

use std::collections::BTreeSet;

use klamm_types::TopicId;

use super::*;
use crate::call::{CommitOffsets, Stability};
use crate::consumer::world;
use crate::offsets::testing::{self, partition, simple};
use crate::topics::Topic;

const TIMEOUT: Duration = Duration::from_millis(100);

fn serving() -> Serving {
    let mut topics = Topics::default();
    let orders = Topic {
        id: TopicId::from_u128(1),
        partitions: vec![BTreeSet::new()],
    };
    topics.insert("orders".to_owned(), orders);
    let mut shard = Shard::new(Arc::new(Settings::default()), Arc::new(topics));
    shard.start(At::default());
    let limits = Limits {
        commit_timeout: TIMEOUT,
        decision_bytes_max: 2_000,
        round_bytes_max: 300,
        waiting_max: 3,
        ..Limits::default()
    };
    Serving::new(shard, limits)
}

fn commit(group: &str, offset: i64) -> Call {
    Call::CommitOffsets(Box::new(CommitOffsets {
        group: group.to_owned(),
        ..simple(vec![partition(0, offset)])
    }))
}

fn fetch() -> Call {
    testing::fetch(Some(&[("orders", &[0])]), Stability::Any)
}

fn at(moment: u64) -> At {
    At {
        moment: Moment(moment),
        ..At::default()
    }
}

fn fetched(answer: &Answer) -> i64 {
    match &answer.1 {
        Ok(Reply::FetchOffsets(fetched)) => fetched.topics[0].partitions[0].offset,
        other => panic!("{other:?}"),
    }
}

fn calls(answers: &[Answer]) -> Vec<u64> {
    answers.iter().map(|(call, _)| call.0).collect()
}

/// One call as a round of its own.
fn round(serving: &mut Serving, moment: u64, id: u64, call: Call) -> (Told, Option<Append>) {
    serving.call(at(moment), CallId(id), call).unwrap();
    serving.end_round(Moment(moment))
}

#[test]
fn what_rests_on_nothing_is_answered_at_once() {
    let mut serving = serving();
    let (told, append) = round(&mut serving, 0, 1, fetch());
    assert_eq!((fetched(&told.answers[0]), append), (-1, None));
    assert_eq!(serving.patience_ends(), None);
}

#[test]
fn an_answer_waits_for_all_that_was_appended_before_it() {
    let mut serving = serving();
    let (told, append) = round(&mut serving, 0, 1, commit("g", 7));
    let first = append.unwrap();
    assert_eq!((told.answers.len(), first.records.len()), (0, 1));
    let (told, append) = round(&mut serving, 1, 2, fetch());
    assert_eq!(
        (told.answers.len(), append),
        (0, None),
        "it has seen the 7, which may yet be lost"
    );
    let (_, append) = round(&mut serving, 2, 3, commit("g", 8));
    let second = append.unwrap();
    assert!(second.commit > first.commit);

    let told = serving.committed(first.commit, Ok(())).unwrap();
    assert_eq!(calls(&told.answers), [1, 2]);
    assert_eq!(fetched(&told.answers[1]), 7);
    let told = serving.committed(second.commit, Ok(())).unwrap();
    assert_eq!(calls(&told.answers), [3]);
}

/// A history tells of nothing that a failover takes back.
#[test]
fn what_happened_is_told_once_it_is_committed() {
    let mut serving = serving();
    let join = Call::ConsumerHeartbeat(Box::new(world::join("m", &["orders"])));
    let (told, append) = round(&mut serving, 0, 1, join);
    assert_eq!(told, Told::default());
    let told = serving.committed(append.unwrap().commit, Ok(())).unwrap();
    assert_eq!(calls(&told.answers), [1]);
    assert!(!told.history.is_empty());
}

#[test]
fn a_round_takes_calls_until_it_is_full_and_rounds_until_enough_wait() {
    let mut serving = serving();
    let mut taken = 0;
    while !serving.round_is_full() {
        taken += 1;
        serving
            .call(at(0), CallId(taken), commit(&format!("group-{taken}"), 1))
            .unwrap();
    }
    assert!(taken > 1);
    let (_, append) = serving.end_round(Moment(0));
    assert_eq!(append.unwrap().records.len() as u64, taken, "one batch of them all");
    assert!(!serving.round_is_full(), "the next one is empty");
    for id in [20, 21] {
        assert!(serving.has_room());
        round(&mut serving, 0, id, commit("g", 1));
    }
    assert!(!serving.has_room());
}

#[test]
fn the_impatient_are_told_that_nobody_knows_and_the_others_still_wait() {
    let mut serving = serving();
    let (_, append) = round(&mut serving, 0, 1, commit("g", 7));
    round(&mut serving, 40_000, 2, fetch());
    assert_eq!(serving.patience_ends(), Some(Moment(100_000)));
    assert_eq!(serving.tell_the_impatient(Moment(99_999)), []);
    let told = serving.tell_the_impatient(Moment(100_000));
    assert_eq!(told, [(CallId(1), Err(ErrorCode::CoordinatorNotAvailable))]);
    assert_eq!(serving.patience_ends(), Some(Moment(140_000)));
    assert!(
        serving.shard().offsets().get("g", "orders", 0).is_some(),
        "it may yet be committed"
    );

    let told = serving.committed(append.unwrap().commit, Ok(())).unwrap();
    assert_eq!(calls(&told.answers), [2], "nobody is answered twice");
    assert_eq!(serving.patience_ends(), None);
}

#[test]
fn whoever_waits_for_a_refused_append_is_told_so() {
    let mut serving = serving();
    round(&mut serving, 0, 0, commit("g", 6));
    let (_, append) = round(&mut serving, 0, 1, commit("g", 7));
    round(&mut serving, 1, 2, fetch());
    let refused = serving.committed(append.unwrap().commit, Err(ErrorCode::NotEnoughReplicas));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotEnoughReplicas);
    let ask_again = Err(ErrorCode::CoordinatorNotAvailable);
    let told = [(CallId(1), ask_again.clone()), (CallId(2), ask_again)];
    assert_eq!(refused.answers, told, "what was appended before may yet be committed");
}

/// All of a decision, or nothing: what was decided before it in the round stays.
#[test]
fn a_call_whose_records_take_too_much_changes_nothing() {
    let mut serving = serving();
    serving.call(at(0), CallId(1), commit("g", 7)).unwrap();
    let long = "long".repeat(600);
    let refused = serving.call(at(0), CallId(2), commit(&long, 8));
    assert!(
        matches!(refused, Err(Unwritable::TooLarge { max: 2_000 })),
        "{refused:?}"
    );
    let (_, append) = serving.end_round(Moment(0));
    let append = append.unwrap();
    assert_eq!(append.records.len(), 1);
    let told = serving.committed(append.commit, Ok(())).unwrap();
    assert_eq!(calls(&told.answers), [1, 2]);
    assert_eq!(told.answers[1].1, Err(ErrorCode::UnknownServerError));
}

#[test]
fn failed_appends_are_told_as_kafka_tells_them() {
    let told = code_for_callers;
    assert_eq!(told(ErrorCode::RequestTimedOut), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(told(ErrorCode::NotEnoughReplicas), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(told(ErrorCode::NotLeaderOrFollower), ErrorCode::NotCoordinator);
    assert_eq!(told(ErrorCode::MessageTooLarge), ErrorCode::UnknownServerError);
}
