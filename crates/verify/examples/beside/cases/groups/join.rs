//! JoinGroup of dynamic members: what is refused, how a member gets in, and who must join again when.

use anyhow::Result;
use klamm_wire::{ApiKey, JoinGroupRequest};

use super::living::{
    self, DESCRIBE, HEARTBEAT, Member, SYNC, alone, await_state, close, describe, described, enter, heartbeat, join,
    joined, knock, protocol, sync, two, two_joined,
};
use crate::case::{ALL, Case, Cases, from};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::JoinGroup);
    refused(&mut cases);
    entering(&mut cases);
    again(&mut cases);
    protocols(&mut cases);
    cases.list
}

fn refused(cases: &mut Cases) {
    cases.add("an empty group id", ALL, |session, version| {
        living::to_coordinator(session, "")?;
        session.ask(version, &join("", "", &["t"]))?;
        Ok(())
    });
    for (timeout, lives) in [
        (i32::MIN, false),
        (0, false),
        (5_999, false),
        (6_000, true),
        (1_800_000, true),
        (1_800_001, false),
    ] {
        cases.add(
            format!("a session timeout of {timeout}"),
            ALL,
            move |session, version| {
                let group = living::group(session, version)?;
                let mut request = join(&group, "", &["t"]);
                request.session_timeout_ms = timeout;
                session.ask(version, &request)?;
                if lives {
                    let member = joined(session, "first")?;
                    close(session, &group, &[&member])?;
                }
                Ok(())
            },
        );
    }
    cases.add("a rebalance timeout of -1", from(1), |session, version| {
        let group = living::group(session, version)?;
        let mut request = join(&group, "", &["t"]);
        request.rebalance_timeout_ms = -1;
        session.ask(version, &request)?;
        joined(session, "first")?;
        // Nobody waits for its sync, so it is out already.
        Ok(())
    });
    cases.add("no protocol type", ALL, |session, version| {
        let group = living::group(session, version)?;
        let mut request = join(&group, "", &["t"]);
        request.protocol_type = "";
        session.ask(version, &request)?;
        Ok(())
    });
    cases.add("no protocols", ALL, |session, version| {
        let group = living::group(session, version)?;
        let mut request = join(&group, "", &["t"]);
        request.protocols.clear();
        session.ask(version, &request)?;
        Ok(())
    });
    cases.add("a member id in a group that does not exist", ALL, |session, version| {
        let group = living::group(session, version)?;
        session.ask(version, &join(&group, "nobody", &["t"]))?;
        session.ask_as("which it does not create", DESCRIBE, &described(&group))?;
        Ok(())
    });
    cases.add("an unknown member id in a living group", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        session.ask(version, &join(&group, "nobody", &["t"]))?;
        session.ask_as("the member goes on", HEARTBEAT, &heartbeat(&group, &member))?;
        close(session, &group, &[&member])?;
        session.ask_as("in the empty group", version, &join(&group, &member.id, &["t"]))?;
        Ok(())
    });
}

/// Enters by the version of the case: with one request, or with two where the group gives out the id first.
fn enter_by(session: &mut Session<'_>, version: i16, request: &JoinGroupRequest<'_>) -> Result<Member> {
    session.ask_as("joins", version, request)?;
    let mut member = joined(session, "first")?;
    if version >= 4 && request.group_instance_id.is_none() {
        describe(session, "a pending member's group", request.group_id)?;
        let request = JoinGroupRequest {
            member_id: &member.id,
            ..request.clone()
        };
        session.ask_as("joins with its id", version, &request)?;
        member = joined(session, "first")?;
    }
    Ok(member)
}

fn entering(cases: &mut Cases) {
    cases.add("the first member of a group", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = enter_by(session, version, &join(&group, "", &["t"]))?;
        describe(session, "has joined", &group)?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        describe(session, "has synced", &group)?;
        close(session, &group, &[&member])?;
        describe(session, "has left", &group)?;
        Ok(())
    });
    cases.add("a group that was empty", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        close(session, &group, &[&member])?;
        let mut request = join(&group, "", &["t"]);
        request.protocol_type = "another";
        let member = enter_by(session, version, &request)?;
        close(session, &group, &[&member])
    });
    cases.add(
        "a pending member joins again without its id",
        from(4),
        |session, version| {
            let group = living::group(session, version)?;
            session.ask_as("one id", version, &join(&group, "", &["t"]))?;
            let one = joined(session, "one")?;
            session.ask_as("another id", version, &join(&group, "", &["t"]))?;
            let other = joined(session, "other")?;
            session.ask_as("joins as the other", version, &join(&group, &other.id, &["t"]))?;
            let other = joined(session, "other")?;
            session.ask_as("syncs", SYNC, &sync(&group, &other, &[&other]))?;
            close(session, &group, &[&other, &one])
        },
    );
    cases.add("a reason", from(8), |session, version| {
        let group = living::group(session, version)?;
        let request = JoinGroupRequest {
            reason: Some("nothing special"),
            ..join(&group, "", &["t"])
        };
        let member = enter_by(session, version, &request)?;
        close(session, &group, &[&member])
    });
    cases.add("a second member", ALL, |session, version| {
        let group = living::group(session, version)?;
        let first = alone(session, &group, &["t"])?;
        if version >= 4 {
            session.ask_as("the second gets an id", version, &join(&group, "", &["t"]))?;
            let second = joined(session, "second")?;
            session.begin("second", version, &join(&group, &second.id, &["t"]))?;
        } else {
            session.begin("second", version, &join(&group, "", &["t"]))?;
        }
        await_state(session, &group, "PreparingRebalance")?;
        session.ask_as("the first hears of it", HEARTBEAT, &heartbeat(&group, &first))?;
        session.ask_as("the first joins again", version, &join(&group, &first.id, &["t"]))?;
        let first = joined(session, "first")?;
        session.end("second")?;
        let second = joined(session, "second")?;
        describe(session, "both have joined", &group)?;
        close(session, &group, &[&first, &second])
    });
}

fn again(cases: &mut Cases) {
    cases.add("the leader of a stable group", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two(session, &group, &["t"])?;
        session.begin("the leader", version, &join(&group, &first.id, &["t"]))?;
        await_state(session, &group, "PreparingRebalance")?;
        session.ask_as("the follower", version, &join(&group, &second.id, &["t"]))?;
        session.end("the leader")?;
        close(session, &group, &[&first, &second])
    });
    cases.add("a follower of a stable group, unchanged", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two(session, &group, &["t"])?;
        session.ask(version, &join(&group, &second.id, &["t"]))?;
        session.ask_as("nobody else need join", HEARTBEAT, &heartbeat(&group, &first))?;
        close(session, &group, &[&first, &second])
    });
    cases.add("a follower with another subscription", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two(session, &group, &["t"])?;
        session.begin("the follower", version, &join(&group, &second.id, &["other"]))?;
        await_state(session, &group, "PreparingRebalance")?;
        session.ask_as("the leader hears of it", HEARTBEAT, &heartbeat(&group, &first))?;
        session.ask_as("the leader", version, &join(&group, &first.id, &["t"]))?;
        session.end("the follower")?;
        close(session, &group, &[&first, &second])
    });
    cases.add("before the leader has synced, unchanged", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &["t"])?;
        session.ask_as("the follower", version, &join(&group, &second.id, &["t"]))?;
        session.ask_as("the leader", version, &join(&group, &first.id, &["t"]))?;
        close(session, &group, &[&first, &second])
    });
    cases.add(
        "before the leader has synced, with another subscription",
        ALL,
        |session, version| {
            let group = living::group(session, version)?;
            let [first, second] = two_joined(session, &group, &["t"])?;
            session.begin("the follower", version, &join(&group, &second.id, &["other"]))?;
            await_state(session, &group, "PreparingRebalance")?;
            session.ask_as("the leader", version, &join(&group, &first.id, &["t"]))?;
            session.end("the follower")?;
            close(session, &group, &[&first, &second])
        },
    );
    cases.add("a member leaves while another waits", ALL, |session, version| {
        let group = living::group(session, version)?;
        let first = alone(session, &group, &["t"])?;
        let second = knock(session, &group, &["t"], "second")?;
        close(session, &group, &[&first])?;
        session.end("second")?;
        let second = living::joined(session, "second").unwrap_or(second);
        close(session, &group, &[&second])
    });
}

fn protocols(cases: &mut Cases) {
    cases.add("another protocol type than the group's", ALL, |session, version| {
        let group = living::group(session, version)?;
        let member = alone(session, &group, &["t"])?;
        let mut request = join(&group, "", &["t"]);
        request.protocol_type = "connect";
        session.ask_as("a new member", version, &request)?;
        request.member_id = &member.id;
        session.ask_as("the member", version, &request)?;
        close(session, &group, &[&member])
    });
    cases.add("no protocol that all members know", ALL, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = two(session, &group, &["t"])?;
        let mut request = join(&group, "", &["t"]);
        request.protocols = vec![protocol("sticky", &["t"]), protocol("roundrobin", &["t"])];
        session.ask_as("a new member", version, &request)?;
        request.member_id = &second.id;
        session.ask_as("the follower", version, &request)?;
        session.ask_as("the group goes on", HEARTBEAT, &heartbeat(&group, &first))?;
        close(session, &group, &[&first, &second])
    });
    cases.add("the only member changes its protocol", ALL, |session, version| {
        let group = living::group(session, version)?;
        let first = alone(session, &group, &["t"])?;
        let mut request = join(&group, &first.id, &["t"]);
        request.protocols = vec![protocol("sticky", &["t"])];
        session.ask(version, &request)?;
        close(session, &group, &[&first])
    });
    cases.add("the protocol that most prefer", ALL, |session, version| {
        let group = living::group(session, version)?;
        let first = enter(session, &group, &["t"], "first")?;
        let mut request = join(&group, &first.id, &["t"]);
        request.protocols = vec![protocol("sticky", &["t"]), protocol("range", &["t", "u"])];
        session.ask_as("two protocols", version, &request)?;
        let first = joined(session, "first")?;
        session.ask_as("syncs", SYNC, &sync(&group, &first, &[&first]))?;
        describe(session, "stable", &group)?;
        let second = knock(session, &group, &["t"], "second")?;
        session.ask_as("one is left", version, &request)?;
        session.end("second")?;
        close(session, &group, &[&first, &second])
    });
    cases.add("one protocol twice", ALL, |session, version| {
        let group = living::group(session, version)?;
        let first = enter(session, &group, &["t"], "first")?;
        let mut request = join(&group, &first.id, &["t"]);
        request.protocols = vec![protocol("range", &["t"]), protocol("range", &["u"])];
        session.ask(version, &request)?;
        close(session, &group, &[&first])
    });
    cases.add("a type that is no consumer's", ALL, |session, version| {
        let group = living::group(session, version)?;
        let mut request = join(&group, "", &["t"]);
        request.protocol_type = "connect";
        request.protocols[0].metadata = bytes::Bytes::from_static(b"any");
        let member = enter_by(session, version, &request)?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        describe(session, "stable", &group)?;
        close(session, &group, &[&member])
    });
}
