//! Groups that live: how a case comes to one, and the steps of which its story is made.
//!
//! Whatever a member is answered is kept for comparison, also where the story is about something else.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use klamm_wire::leave_group_request::MemberIdentity;
use klamm_wire::{FindCoordinatorRequest, LeaveGroupRequest, Tree};

use super::heartbeat::{beat, full};
pub use super::requests::{commit, described, heartbeat, join, protocol, sync};
use crate::case::{ALL, Cases};
use crate::cluster::{Topic, list, number, text};
use crate::session::Session;

/// Versions for what a story needs besides the API that it is about.
pub const JOIN: i16 = 9;
/// Before 5, which also compares the protocol.
pub const SYNC: i16 = 4;
pub const HEARTBEAT: i16 = 4;
pub const LEAVE: i16 = 5;
pub const COMMIT: i16 = 9;
pub const DESCRIBE: i16 = 6;

/// A member of a classic group.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: String,
    pub generation: i32,
}

/// A group id that only this case has in this version; requests go to its coordinator from here on.
pub fn group(session: &mut Session<'_>, version: i16) -> Result<String> {
    let group = session.name(format!("group-{version}"));
    to_coordinator(session, &group)?;
    Ok(group)
}

/// A case for each pair of a group and a member that nobody knows.
pub fn unknown(
    cases: &mut Cases,
    ask: impl Fn(&mut Session<'_>, i16, &'static str, &'static str) -> Result<()> + Copy + 'static,
) {
    for (group, member) in [("", ""), ("", "m"), ("no-such-group", ""), ("no-such-group", "m")] {
        cases.add(
            format!("group {group:?}, member {member:?}"),
            ALL,
            move |session, version| {
                to_coordinator(session, group)?;
                ask(session, version, group, member)
            },
        );
    }
}

/// Sends what follows to the coordinator of a group.
pub fn to_coordinator(session: &mut Session<'_>, group: &str) -> Result<()> {
    let request = FindCoordinatorRequest {
        key: group,
        ..Default::default()
    };
    let tree = session
        .cluster
        .until(1, 1, &request, |tree| number(tree, "error_code") == 0)?;
    let coordinator = number(&tree, "node_id");
    // A coordinator that has just become one says so to everybody, or answers a heartbeat with 0.
    let loaded = |tree: &Tree| {
        let code = list(tree, "groups")
            .first()
            .map_or(-1, |group| number(group, "error_code"));
        ![14, 15, 16].contains(&code)
    };
    session.cluster.until(coordinator, 0, &described(group), loaded)?;
    session.to(coordinator);
    Ok(())
}

/// The topic to which groups subscribe: three partitions, shared by the cases of an API.
pub fn topic(session: &mut Session<'_>) -> Result<Topic> {
    let (topic, fresh) = session.shared("topic", 3)?;
    if fresh {
        known_to_coordinators(session, &topic)?;
    }
    Ok(topic)
}

/// Waits until the coordinators on all brokers know a topic, by groups that get its partitions.
fn known_to_coordinators(session: &mut Session<'_>, topic: &Topic) -> Result<()> {
    let mut brokers = BTreeSet::new();
    for number in 0.. {
        let group = format!("probe-{}-{number}", topic.name);
        to_coordinator(session, &group)?;
        if !brokers.insert(session.broker()) {
            continue;
        }
        let given = |tree: &Tree| {
            let assignment = tree.field("assignment");
            assignment.is_some_and(|assignment| !list(assignment, "topic_partitions").is_empty())
        };
        session.wait(1, &full(&group, "probe", &[&topic.name]), given)?;
        session.set_up(1, &beat(&group, &Member::named("probe", -1)))?;
        if brokers.len() == 3 {
            break;
        }
    }
    Ok(())
}

/// Describes a group that lives. Kafka describes what is in its log, and a new group is there only in a moment.
pub fn describe(session: &mut Session<'_>, what: &str, group: &str) -> Result<()> {
    let known = |tree: &Tree| {
        list(tree, "groups")
            .first()
            .is_some_and(|group| number(group, "error_code") == 0)
    };
    session.ask_until_as(what, DESCRIBE, &described(group), known)?;
    Ok(())
}

/// The last answer was no refusal.
pub fn good(session: &mut Session<'_>) -> Result<()> {
    let code = number(session.answer()?, "error_code");
    ensure!(code == 0, "the story cannot go on after error {code}");
    Ok(())
}

/// Waits until a classic group is in a state.
pub fn await_state(session: &mut Session<'_>, group: &str, state: &str) -> Result<()> {
    session.wait(0, &described(group), |tree| {
        list(tree, "groups")
            .first()
            .is_some_and(|group| text(group, "group_state") == state)
    })?;
    Ok(())
}

/// Whoever is no member: a simple consumer, or an administrator.
pub static NOBODY: Member = Member {
    id: String::new(),
    generation: -1,
};

impl Member {
    pub fn with(&self, generation: i32) -> Member {
        Member {
            generation,
            ..self.clone()
        }
    }

    pub fn named(id: &str, generation: i32) -> Member {
        Member {
            id: id.to_owned(),
            generation,
        }
    }
}

/// The member id and generation of the last answer. What of the id the cluster has drawn is called by a name.
pub fn joined(session: &mut Session<'_>, name: &str) -> Result<Member> {
    let answer = session.answer()?;
    let id = text(answer, "member_id");
    let generation = i32::try_from(number(answer, "generation_id")).unwrap_or(-1);
    call(session, &id, name);
    Ok(Member { id, generation })
}

/// Gives an id that ends with something drawn a name; what stands before it is compared.
pub fn call(session: &mut Session<'_>, id: &str, name: &str) {
    // A UUID in hexadecimal, or in base 64.
    let drawn = match id.len() {
        length if length > 36 && id.as_bytes()[length - 37] == b'-' => length - 36,
        36 | 22 => 0,
        _ => return,
    };
    let base64 = if id.len() == 22 { " in base 64" } else { "" };
    session
        .called
        .insert(id.to_owned(), format!("{}<{name}{base64}>", &id[..drawn]));
}

/// Joins with the member id that the group gives out, as a dynamic member does.
pub fn enter(session: &mut Session<'_>, group: &str, topics: &[&str], name: &str) -> Result<Member> {
    session.ask_as("the group gives an id", JOIN, &join(group, "", topics))?;
    let member = joined(session, name)?;
    session.ask_as("joins", JOIN, &join(group, &member.id, topics))?;
    good(session)?;
    joined(session, name)
}

/// The only member of a classic group that is none of consumers; it has not synced.
pub fn of_another_kind(session: &mut Session<'_>, group: &str) -> Result<Member> {
    let mut request = join(group, "", &[]);
    request.protocol_type = "connect";
    session.ask_as("gets an id", JOIN, &request)?;
    let member = joined(session, "first")?;
    request.member_id = &member.id;
    session.ask_as("joins", JOIN, &request)?;
    joined(session, "first")
}

/// A group with one member, Stable.
pub fn alone(session: &mut Session<'_>, group: &str, topics: &[&str]) -> Result<Member> {
    let member = enter(session, group, topics, "first")?;
    session.ask_as("syncs", SYNC, &sync(group, &member, &[&member]))?;
    good(session)?;
    Ok(member)
}

/// A further member that has its id and waits for the group to rebalance, in `lane`.
pub fn knock(session: &mut Session<'_>, group: &str, topics: &[&str], lane: &'static str) -> Result<Member> {
    session.ask_as("the group gives an id", JOIN, &join(group, "", topics))?;
    let member = joined(session, lane)?;
    session.begin(lane, JOIN, &join(group, &member.id, topics))?;
    await_state(session, group, "PreparingRebalance")?;
    Ok(member)
}

/// A group with a leader and a second member, both of the same generation, CompletingRebalance.
pub fn two_joined(session: &mut Session<'_>, group: &str, topics: &[&str]) -> Result<[Member; 2]> {
    let first = alone(session, group, topics)?;
    knock(session, group, topics, "second")?;
    session.ask_as("joins again", JOIN, &join(group, &first.id, topics))?;
    let first = joined(session, "first")?;
    session.end("second")?;
    good(session)?;
    let second = joined(session, "second")?;
    Ok([first, second])
}

/// The same, Stable.
pub fn two(session: &mut Session<'_>, group: &str, topics: &[&str]) -> Result<[Member; 2]> {
    let both = two_joined(session, group, topics)?;
    let [first, second] = &both;
    session.ask_as("the leader syncs", SYNC, &sync(group, first, &[first, second]))?;
    session.ask_as("the follower syncs", SYNC, &sync(group, second, &[]))?;
    good(session)?;
    Ok(both)
}

/// Takes a group's members out, so that nobody is left to wait for.
pub fn close(session: &mut Session<'_>, group: &str, members: &[&Member]) -> Result<()> {
    close_by(session, LEAVE, group, members)
}

/// The same in a version from 3 on.
pub fn close_by<'m>(session: &mut Session<'_>, version: i16, group: &str, members: &[&'m Member]) -> Result<()> {
    let identity = |member: &&'m Member| MemberIdentity {
        member_id: &member.id,
        ..Default::default()
    };
    let request = LeaveGroupRequest {
        group_id: group,
        members: members.iter().map(identity).collect(),
        ..Default::default()
    };
    session.ask_as("all leave", version, &request)?;
    Ok(())
}
