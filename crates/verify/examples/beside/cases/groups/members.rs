//! Heartbeat and LeaveGroup.

use anyhow::Result;
use klamm_wire::leave_group_request::MemberIdentity;
use klamm_wire::{ApiKey, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest};

use super::living::{
    self, HEARTBEAT, JOIN, Member, alone, close, describe, enter, heartbeat, join, joined, knock, two, two_joined,
};
use crate::case::{ALL, Case, Cases, from, until};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut beats = Cases::of(ApiKey::Heartbeat);
    unknown_groups(&mut beats);
    heartbeats(&mut beats);
    instances(&mut beats);
    let mut leaves = Cases::of(ApiKey::LeaveGroup);
    leave_one(&mut leaves);
    leave_many(&mut leaves);
    beats.list.into_iter().chain(leaves.list).collect()
}

fn unknown_groups(cases: &mut Cases) {
    living::unknown(cases, |session, version, group, member| {
        session.ask(version, &heartbeat(group, &Member::named(member, 1)))?;
        Ok(())
    });
}

fn heartbeats(cases: &mut Cases) {
    cases.add("right and wrong members and generations", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        for (what, caller) in [
            ("the member", member.clone()),
            ("an unknown member", Member::named("nobody", member.generation)),
            ("an empty member id", Member::named("", member.generation)),
            ("an older generation", member.with(member.generation - 1)),
            ("a later generation", member.with(member.generation + 1)),
            ("generation -1", member.with(-1)),
        ] {
            session.ask_as(what, version, &heartbeat(&group, &caller))?;
        }
        close(session, &group, &[&member])?;
        session.ask_as("in the empty group", version, &heartbeat(&group, &member))?;
        Ok(())
    });
    cases.add("before the leader has synced", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &["t"])?;
        session.ask_as("the leader", version, &heartbeat(&group, &first))?;
        session.ask_as("the follower", version, &heartbeat(&group, &second))?;
        let wrong = second.with(second.generation - 1);
        session.ask_as("an older generation", version, &heartbeat(&group, &wrong))?;
        close(session, &group, &[&first, &second])
    });
    cases.add("while the group rebalances", ALL, |session, version| {
        let group = living::group(session, version)?;
        let first = alone(session, &group, &["t"])?;
        let second = knock(session, &group, &["t"], "second")?;
        session.ask_as("the member", version, &heartbeat(&group, &first))?;
        let wrong = first.with(first.generation + 1);
        session.ask_as("a later generation", version, &heartbeat(&group, &wrong))?;
        session.ask_as("who waits", version, &heartbeat(&group, &second))?;
        close(session, &group, &[&first])?;
        session.end("second")?;
        close(session, &group, &[&second])
    });
    cases.add("a pending member", ALL, |session, version| {
        let group = living::group(session, version)?;
        session.ask_as("gets an id", JOIN, &join(&group, "", &["t"]))?;
        let member = joined(session, "pending")?;
        session.ask_as("the only one", version, &heartbeat(&group, &member))?;
        let first = alone(session, &group, &["t"])?;
        session.ask_as("beside a member", version, &heartbeat(&group, &member))?;
        close(session, &group, &[&first, &member])
    });
}

/// A group whose only member is static; it need not sync for a heartbeat.
fn static_member(session: &mut Session<'_>, group: &str) -> Result<Member> {
    let request = JoinGroupRequest {
        group_instance_id: Some("instance"),
        ..join(group, "", &["t"])
    };
    session.ask_as("the static member joins", JOIN, &request)?;
    joined(session, "static")
}

fn instances(cases: &mut Cases) {
    cases.add("instance ids", from(3), |session, version| {
        let group = living::group(session, version)?;
        let member = static_member(session, &group)?;
        let stranger = Member::named("nobody", member.generation);
        for (what, caller, instance) in [
            ("the member", &member, Some("instance")),
            ("the member without its instance", &member, None),
            ("an unknown instance", &member, Some("other")),
            ("another member id", &stranger, Some("instance")),
        ] {
            let request = HeartbeatRequest {
                group_instance_id: instance,
                ..heartbeat(&group, caller)
            };
            session.ask_as(what, version, &request)?;
        }
        close(session, &group, &[&member])
    });
}

/// One member leaves, in the form that the version has.
fn leave<'a>(version: i16, group: &'a str, member: &'a str) -> LeaveGroupRequest<'a> {
    if version <= 2 {
        return LeaveGroupRequest {
            group_id: group,
            member_id: member,
            ..Default::default()
        };
    }
    let identity = MemberIdentity {
        member_id: member,
        ..Default::default()
    };
    LeaveGroupRequest {
        group_id: group,
        members: vec![identity],
        ..Default::default()
    }
}

fn leave_one(cases: &mut Cases) {
    living::unknown(cases, |session, version, group, member| {
        session.ask(version, &leave(version, group, member))?;
        Ok(())
    });
    cases.add("the only member, twice", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        session.ask_as("an unknown member", version, &leave(version, &group, "nobody"))?;
        session.ask_as("no member id", version, &leave(version, &group, ""))?;
        session.ask_as("the member", version, &leave(version, &group, &member.id))?;
        describe(session, "the group", &group)?;
        session.ask_as("once more", version, &leave(version, &group, &member.id))?;
        Ok(())
    });
    cases.add("one of two", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two(session, &group, &["t"])?;
        session.ask_as("the leader", version, &leave(version, &group, &first.id))?;
        session.ask_as("the other hears of it", HEARTBEAT, &heartbeat(&group, &second))?;
        session.ask_as("joins again", JOIN, &join(&group, &second.id, &["t"]))?;
        close(session, &group, &[&second])
    });
    cases.add("a pending member", ALL, |session, version| {
        let group = living::group(session, version)?;
        session.ask_as("gets an id", JOIN, &join(&group, "", &["t"]))?;
        let member = joined(session, "pending")?;
        session.ask_as("leaves", version, &leave(version, &group, &member.id))?;
        session.ask_as("leaves again", version, &leave(version, &group, &member.id))?;
        session.ask_as("joins with its id", JOIN, &join(&group, &member.id, &["t"]))?;
        Ok(())
    });
    cases.add("a static member by its id", until(2), |session, version| {
        let group = living::group(session, version)?;
        let member = static_member(session, &group)?;
        session.ask_as("leaves", version, &leave(version, &group, &member.id))?;
        describe(session, "the group", &group)?;
        Ok(())
    });
}

fn identity<'a>(member_id: &'a str, group_instance_id: Option<&'a str>) -> MemberIdentity<'a> {
    MemberIdentity {
        member_id,
        group_instance_id,
        reason: None,
    }
}

fn leave_many(cases: &mut Cases) {
    cases.add("nobody", from(3), |session, version| {
        let group = living::group(session, version)?;
        let empty = LeaveGroupRequest {
            group_id: &group,
            ..Default::default()
        };
        session.ask_as("of an unknown group", version, &empty)?;
        let member = enter(session, &group, &["t"], "first")?;
        session.ask_as("of a living group", version, &empty)?;
        close(session, &group, &[&member])
    });
    cases.add(
        "known and unknown members in one request",
        from(3),
        |session, version| {
            let group = living::group(session, version)?;
            let [first, second] = two(session, &group, &["t"])?;
            let request = LeaveGroupRequest {
                group_id: &group,
                members: vec![
                    identity("nobody", None),
                    identity(&first.id, None),
                    identity(&first.id, None),
                    identity(&second.id, Some("no such instance")),
                    identity("", Some("no such instance")),
                    identity("", None),
                ],
                ..Default::default()
            };
            session.ask(version, &request)?;
            session.ask_as("who stays", HEARTBEAT, &heartbeat(&group, &second))?;
            close(session, &group, &[&second])
        },
    );
    cases.add("a static member by its instance", from(3), |session, version| {
        let group = living::group(session, version)?;
        let member = static_member(session, &group)?;
        for (what, who) in [
            ("another member id", identity("nobody", Some("instance"))),
            ("another instance", identity(&member.id, Some("other"))),
            ("the instance alone", identity("", Some("instance"))),
            ("once more", identity("", Some("instance"))),
            ("its old id", identity(&member.id, None)),
        ] {
            let request = LeaveGroupRequest {
                group_id: &group,
                members: vec![who],
                ..Default::default()
            };
            session.ask_as(what, version, &request)?;
        }
        describe(session, "the group", &group)?;
        Ok(())
    });
}
