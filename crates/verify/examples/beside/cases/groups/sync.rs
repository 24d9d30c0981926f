//! SyncGroup: who gets an assignment, who waits for one, who is refused.

use klamm_wire::sync_group_request::SyncGroupRequestAssignment;
use klamm_wire::{ApiKey, SyncGroupRequest};

use super::living::{self, JOIN, Member, alone, close, describe, enter, join, joined, knock, sync, two, two_joined};
use crate::case::{ALL, Case, Cases, from};

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::SyncGroup);
    refused(&mut cases);
    protocols(&mut cases);
    assigned(&mut cases);
    rebalances(&mut cases);
    cases.list
}

fn refused(cases: &mut Cases) {
    living::unknown(cases, |session, version, group, member| {
        session.ask(version, &sync(group, &Member::named(member, 1), &[]))?;
        Ok(())
    });
    cases.add("wrong members and generations", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        for (what, caller) in [
            ("an unknown member", Member::named("nobody", member.generation)),
            ("an empty member id", Member::named("", member.generation)),
            ("an older generation", member.with(member.generation - 1)),
            ("a later generation", member.with(member.generation + 1)),
            ("generation -1", member.with(-1)),
        ] {
            session.ask_as(what, version, &sync(&group, &caller, &[]))?;
        }
        close(session, &group, &[&member])?;
        session.ask_as("in the empty group", version, &sync(&group, &member, &[]))?;
        Ok(())
    });
    cases.add("a pending member", ALL, |session, version| {
        let group = living::group(session, version)?;
        session.ask_as("gets an id", JOIN, &join(&group, "", &["t"]))?;
        let member = joined(session, "pending")?;
        session.ask_as("the only one", version, &sync(&group, &member, &[]))?;
        let first = alone(session, &group, &["t"])?;
        session.ask_as("beside a member", version, &sync(&group, &member, &[]))?;
        close(session, &group, &[&first, &member])
    });
    cases.add("an instance id", from(3), |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        let mut request = sync(&group, &member, &[]);
        request.group_instance_id = Some("instance");
        session.ask_as("that nobody has", version, &request)?;
        close(session, &group, &[&member])
    });
}

fn protocols(cases: &mut Cases) {
    for (protocol_type, protocol_name) in [
        (Some("consumer"), Some("range")),
        (Some("consumer"), None),
        (None, Some("range")),
        (None, None),
        (Some("connect"), Some("range")),
        (Some("consumer"), Some("sticky")),
        (Some(""), Some("")),
    ] {
        let name = format!("protocol type {protocol_type:?}, name {protocol_name:?}");
        cases.add(name, from(5), move |session, version| {
            let group = living::group(session, version)?;
            let member = enter(session, &group, &["t"], "first")?;
            let request = SyncGroupRequest {
                protocol_type,
                protocol_name,
                ..sync(&group, &member, &[])
            };
            session.ask_as("after the join", version, &request)?;
            session.ask_as("once more", version, &request)?;
            close(session, &group, &[&member])
        });
    }
}

fn assigned(cases: &mut Cases) {
    cases.add("a member alone", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = enter(session, &group, &["t"], "first")?;
        session.ask_as("with its assignment", version, &sync(&group, &member, &[&member]))?;
        session.ask_as("once more without", version, &sync(&group, &member, &[]))?;
        describe(session, "the group", &group)?;
        close(session, &group, &[&member])
    });
    cases.add("a follower waits for the leader", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &["t"])?;
        session.begin("the follower", version, &sync(&group, &second, &[]))?;
        session.ask_as("the leader", version, &sync(&group, &first, &[&first, &second]))?;
        session.end("the follower")?;
        session.ask_as("the follower once more", version, &sync(&group, &second, &[]))?;
        close(session, &group, &[&first, &second])
    });
    cases.add("a follower brings assignments", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &["t"])?;
        session.begin("the follower", version, &sync(&group, &second, &[&first, &second]))?;
        session.ask_as("the leader", version, &sync(&group, &first, &[]))?;
        session.end("the follower")?;
        close(session, &group, &[&first, &second])
    });
    cases.add(
        "a leader forgets its follower and names a stranger",
        ALL,
        |session, version| {
            let group = living::group(session, version)?;
            let [first, second] = two_joined(session, &group, &["t"])?;
            let mut request = sync(&group, &first, &[&first]);
            request.assignments.push(SyncGroupRequestAssignment {
                member_id: "stranger",
                assignment: "do".into(),
            });
            session.ask_as("the leader", version, &request)?;
            session.ask_as("the follower", version, &sync(&group, &second, &[]))?;
            describe(session, "the group", &group)?;
            close(session, &group, &[&first, &second])
        },
    );
    cases.add("one member twice in the assignments", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = enter(session, &group, &["t"], "first")?;
        let mut request = sync(&group, &member, &[&member, &member]);
        request.assignments[1].assignment = "other".into();
        session.ask(version, &request)?;
        close(session, &group, &[&member])
    });
}

fn rebalances(cases: &mut Cases) {
    cases.add("while the group rebalances", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two(session, &group, &["t"])?;
        let third = knock(session, &group, &["t"], "third")?;
        session.ask_as("a member of the last generation", version, &sync(&group, &second, &[]))?;
        describe(session, "the group", &group)?;
        close(session, &group, &[&first, &second])?;
        session.end("third")?;
        close(session, &group, &[&third])
    });
    cases.add("a waiting follower hears of a rebalance", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &["t"])?;
        session.begin("the follower", version, &sync(&group, &second, &[]))?;
        // The answer comes when the leader is gone, whatever of the two is seen first.
        close(session, &group, &[&first])?;
        session.end("the follower")?;
        close(session, &group, &[&second])
    });
}
