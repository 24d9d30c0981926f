//! The rules of the classic protocol as values: exact replies, exact records.

mod commits;
mod joining;
mod leaving;
mod rebalancing;
mod returning;
mod stories;
mod syncing;

use std::time::Duration;

use bytes::Bytes;
use klamm_types::ErrorCode;

use crate::call::{Call, CallId, Client, Heartbeat, Join, Leave, LeavingMember, MemberIdRule, SkipAssignment, Sync};
use crate::classic::Group;
use crate::draft::Decision;
use crate::group::Group as AnyGroup;
use crate::history::Happened;
use crate::record::{ClassicGroup, ClassicMember, Record};
use crate::reply::{Joined, JoinedMember, Left, LeftMember, Reply, Synced};
use crate::settings::Settings;
use crate::testing::{Bench, WALL, records};

const SECOND: Duration = Duration::from_secs(1);

/// The id that the call of this number makes.
fn id(prefix: &str, call: u64) -> String {
    format!("{prefix}-00000000-0000-4000-8000-{call:012x}")
}

fn bench() -> Bench {
    Bench::new(Settings::default())
}

fn protocols(list: &[(&str, &'static str)]) -> Vec<(String, Bytes)> {
    let protocol =
        |(name, metadata): &(&str, &'static str)| ((*name).to_owned(), Bytes::from_static(metadata.as_bytes()));
    list.iter().map(protocol).collect()
}

/// A JoinGroup of the newest version, of a client that offers `range`.
fn join(client: &str, member: &str) -> Join {
    Join {
        group: "g".to_owned(),
        member: member.to_owned(),
        instance: None,
        client: Client {
            id: client.to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&[("range", "m")]),
        reason: None,
        member_id_rule: MemberIdRule::Required,
        skip_assignment: SkipAssignment::Supported,
    }
}

fn old_join(client: &str) -> Join {
    Join {
        member_id_rule: MemberIdRule::Given,
        skip_assignment: SkipAssignment::Unsupported,
        ..join(client, "")
    }
}

fn static_join(instance: &str) -> Join {
    Join {
        instance: Some(instance.to_owned()),
        ..join("client", "")
    }
}

fn call_join(bench: &mut Bench, join: Join) -> (CallId, Decision) {
    bench.call(Call::Join(Box::new(join)))
}

fn sync(member: &str, generation: i32, assignments: &[(&str, &'static str)]) -> Call {
    Call::Sync(Box::new(Sync {
        group: "g".to_owned(),
        generation,
        member: member.to_owned(),
        instance: None,
        protocol: None,
        assignments: protocols(assignments),
    }))
}

fn heartbeat(member: &str, generation: i32) -> Call {
    Call::Heartbeat(Heartbeat {
        group: "g".to_owned(),
        generation,
        member: member.to_owned(),
        instance: None,
    })
}

fn leave(members: &[(&str, Option<&str>)]) -> Call {
    let member = |(member, instance): &(&str, Option<&str>)| LeavingMember {
        member: (*member).to_owned(),
        instance: instance.map(str::to_owned),
        reason: None,
    };
    Call::Leave(Leave {
        group: "g".to_owned(),
        members: members.iter().map(member).collect(),
    })
}

/// Makes the call and returns the one error code that answers it.
fn code(bench: &mut Bench, call: Call) -> ErrorCode {
    let (id, decision) = bench.call(call);
    let [(answered, reply)] = decision.replies.as_slice() else {
        panic!("one answer, not {:?}", decision.replies);
    };
    assert_eq!(*answered, id);
    match reply {
        Reply::Join(joined) => joined.error,
        Reply::Sync(synced) => synced.error,
        Reply::Heartbeat(error) => *error,
        Reply::Leave(left) => left.error,
        other => panic!("an answer of another kind: {other:?}"),
    }
}

fn refused(error: ErrorCode, member: &str) -> Reply {
    Reply::Join(Box::new(Joined {
        error,
        generation: -1,
        protocol_type: None,
        protocol: None,
        leader: String::new(),
        skip_assignment: false,
        member: member.to_owned(),
        members: vec![],
    }))
}

/// What a follower hears, or with `members` the leader.
fn joined(member: &str, generation: i32, leader: &str, members: Vec<JoinedMember>) -> Reply {
    Reply::Join(Box::new(Joined {
        error: ErrorCode::None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        leader: leader.to_owned(),
        skip_assignment: false,
        member: member.to_owned(),
        members,
    }))
}

fn joined_member(member: &str, metadata: &'static str) -> JoinedMember {
    JoinedMember {
        member: member.to_owned(),
        instance: None,
        metadata: Bytes::from_static(metadata.as_bytes()),
    }
}

fn synced(assignment: &'static str) -> Reply {
    Reply::Sync(Synced {
        error: ErrorCode::None,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignment: Bytes::from_static(assignment.as_bytes()),
    })
}

fn sync_refused(error: ErrorCode) -> Reply {
    Reply::Sync(Synced {
        error,
        protocol_type: None,
        protocol: None,
        assignment: Bytes::new(),
    })
}

/// The record of a generation of the members of `old_join`, entered `seconds` after the start.
fn stable_record(seconds: i64, generation: i32, members: &[(&str, &'static str)]) -> Record {
    let member = |(member, assignment): &(&str, &'static str)| ClassicMember {
        member: (*member).to_owned(),
        instance: None,
        client_id: member.split('-').next().unwrap_or_default().to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: Bytes::from_static(b"m"),
        assignment: Bytes::from_static(assignment.as_bytes()),
    };
    Record::ClassicGroup {
        group: "g".to_owned(),
        value: Some(ClassicGroup {
            protocol_type: "consumer".to_owned(),
            generation,
            protocol: Some("range".to_owned()),
            leader: members.first().map(|(member, _)| (*member).to_owned()),
            state_timestamp: WALL + seconds * 1000,
            members: members.iter().map(member).collect(),
        }),
    }
}

fn empty_record(seconds: i64, generation: i32, protocol_type: &str) -> Record {
    Record::ClassicGroup {
        group: "g".to_owned(),
        value: Some(ClassicGroup {
            protocol_type: protocol_type.to_owned(),
            generation,
            protocol: None,
            leader: None,
            state_timestamp: WALL + seconds * 1000,
            members: vec![],
        }),
    }
}

fn group(bench: &Bench) -> &Group {
    match bench.shard.group("g") {
        Some(AnyGroup::Classic(group)) => group,
        other => panic!("a classic group, not {other:?}"),
    }
}

fn state(bench: &Bench) -> (&'static str, i32) {
    (group(bench).state_name(), group(bench).generation())
}

/// Three seconds after the start, `a` (leader) and `b` have begun generation 1.
fn two_joined() -> (Bench, String, String) {
    let mut bench = bench();
    call_join(&mut bench, old_join("a"));
    call_join(&mut bench, old_join("b"));
    // Once for the delay, once for its extension, since b came after a.
    bench.pass(6 * SECOND);
    let (a, b) = (id("a", 1), id("b", 2));
    assert_eq!(state(&bench), ("CompletingRebalance", 1));
    (bench, a, b)
}

/// The same, and both have their assignments, `P0` and `P1`.
fn two_stable() -> (Bench, String, String) {
    let (mut bench, a, b) = two_joined();
    bench.call(sync(&a, 1, &[(&a, "P0"), (&b, "P1")]));
    bench.call(sync(&b, 1, &[]));
    assert_eq!(state(&bench), ("Stable", 1));
    (bench, a, b)
}

fn replies(decision: &Decision) -> Vec<Reply> {
    decision.replies.iter().map(|(_, reply)| reply.clone()).collect()
}

fn all_replies(decisions: Vec<(klamm_types::Moment, Decision)>) -> Vec<(CallId, Reply)> {
    decisions
        .into_iter()
        .flat_map(|(_, decision)| decision.replies)
        .collect()
}

fn happened(decision: &Decision) -> Vec<Happened> {
    decision.history.iter().map(|entry| entry.happened.clone()).collect()
}

fn left(members: &[(&str, Option<&str>, ErrorCode)]) -> Reply {
    let member = |(member, instance, error): &(&str, Option<&str>, ErrorCode)| LeftMember {
        member: (*member).to_owned(),
        instance: instance.map(str::to_owned),
        error: *error,
    };
    Reply::Leave(Left {
        error: ErrorCode::None,
        members: members.iter().map(member).collect(),
    })
}
