//! JoinGroup of static members: who returns, who is replaced, and what the replaced one hears.

use anyhow::Result;
use klamm_wire::leave_group_request::MemberIdentity;
use klamm_wire::{
    ApiKey, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};

use super::living::{
    self, COMMIT, HEARTBEAT, LEAVE, Member, SYNC, await_state, close, commit, describe, good, heartbeat, join, joined,
    protocol, sync,
};
use crate::case::{Case, Cases, from};
use crate::session::Session;

const INSTANCE: Option<&str> = Some("instance");

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::JoinGroup);
    returning(&mut cases);
    changed(&mut cases);
    instances(&mut cases);
    replaced(&mut cases);
    cases.list
}

fn static_join<'a>(group: &'a str, member: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_instance_id: INSTANCE,
        ..join(group, member, &["t"])
    }
}

/// A group whose only member is static, Stable.
fn settled(session: &mut Session<'_>, group: &str, version: i16) -> Result<Member> {
    session.ask_as("the static member joins", version, &static_join(group, ""))?;
    let member = joined(session, "static")?;
    session.ask_as("it syncs", SYNC, &sync(group, &member, &[&member]))?;
    good(session)?;
    Ok(member)
}

fn returning(cases: &mut Cases) {
    cases.add("a static member returns without an id", from(5), |session, version| {
        let group = living::group(session, version)?;
        let old = settled(session, &group, version)?;
        session.ask_as("it returns", version, &static_join(&group, ""))?;
        let new = joined(session, "returned")?;
        describe(session, "the group", &group)?;
        session.ask_as("it syncs again", SYNC, &sync(&group, &new, &[]))?;
        session.ask_as("its old id", HEARTBEAT, &heartbeat(&group, &old))?;
        close(session, &group, &[&new])
    });
    cases.add("a static member joins with its id", from(5), |session, version| {
        let group = living::group(session, version)?;
        let member = settled(session, &group, version)?;
        session.ask_as("it joins again", version, &static_join(&group, &member.id))?;
        let member = joined(session, "static")?;
        describe(session, "the group", &group)?;
        close(session, &group, &[&member])
    });
    cases.add("a static follower returns", from(5), |session, version| {
        let group = living::group(session, version)?;
        let leader = living::alone(session, &group, &["t"])?;
        session.begin("the static member", version, &static_join(&group, ""))?;
        await_state(session, &group, "PreparingRebalance")?;
        session.ask_as("the leader joins", version, &join(&group, &leader.id, &["t"]))?;
        let leader = joined(session, "first")?;
        session.end("the static member")?;
        let old = joined(session, "static")?;
        session.ask_as("the leader syncs", SYNC, &sync(&group, &leader, &[&leader, &old]))?;
        session.ask_as("it returns", version, &static_join(&group, ""))?;
        let new = joined(session, "returned")?;
        session.ask_as("it syncs", SYNC, &sync(&group, &new, &[]))?;
        session.ask_as("nobody else need join", HEARTBEAT, &heartbeat(&group, &leader))?;
        close(session, &group, &[&leader, &new])
    });
}

fn changed(cases: &mut Cases) {
    cases.add(
        "a static member returns before it has synced",
        from(5),
        |session, version| {
            let group = living::group(session, version)?;
            session.ask_as("joins", version, &static_join(&group, ""))?;
            joined(session, "static")?;
            session.ask_as("it returns", version, &static_join(&group, ""))?;
            let new = joined(session, "returned")?;
            close(session, &group, &[&new])
        },
    );
    cases.add(
        "a static member returns with another subscription",
        from(5),
        |session, version| {
            let group = living::group(session, version)?;
            settled(session, &group, version)?;
            let mut request = static_join(&group, "");
            request.protocols = vec![protocol("range", &["u"])];
            session.ask_as("it returns", version, &request)?;
            let new = joined(session, "returned")?;
            describe(session, "the group", &group)?;
            close(session, &group, &[&new])
        },
    );
    cases.add(
        "a static member returns with another protocol",
        from(5),
        |session, version| {
            let group = living::group(session, version)?;
            settled(session, &group, version)?;
            let mut request = static_join(&group, "");
            request.protocols = vec![protocol("sticky", &["t"])];
            session.ask_as("it returns", version, &request)?;
            let new = joined(session, "returned")?;
            close(session, &group, &[&new])
        },
    );
}

fn instances(cases: &mut Cases) {
    cases.add("an empty instance id", from(5), |session, version| {
        let group = living::group(session, version)?;
        let mut request = static_join(&group, "");
        request.group_instance_id = Some("");
        session.ask_as("joins", version, &request)?;
        let member = joined(session, "static")?;
        close(session, &group, &[&member])
    });
    for instance in [
        "a b".to_owned(),
        ".".into(),
        "..".into(),
        "kläm".into(),
        "i".repeat(250),
    ] {
        let what = format!("an instance id that no topic may have: {:.5}", instance);
        cases.add(what, from(5), move |session, version| {
            let group = living::group(session, version)?;
            let mut request = static_join(&group, "");
            request.group_instance_id = Some(&instance);
            session.ask_as("joins", version, &request)?;
            let member = joined(session, "static")?;
            close(session, &group, &[&member])
        });
    }
    cases.add("an unknown instance with a member id", from(5), |session, version| {
        let group = living::group(session, version)?;
        let member = living::alone(session, &group, &["t"])?;
        session.ask_as("an unknown id", version, &static_join(&group, "nobody"))?;
        session.ask_as("a dynamic member's id", version, &static_join(&group, &member.id))?;
        close(session, &group, &[&member])
    });
}

fn replaced(cases: &mut Cases) {
    cases.add("what a replaced static member hears", from(5), |session, version| {
        let topic = living::topic(session)?.name;
        let group = living::group(session, version)?;
        let old = settled(session, &group, version)?;
        session.ask_as("it returns", version, &static_join(&group, ""))?;
        let new = joined(session, "returned")?;
        session.ask_as("joins with the old id", version, &static_join(&group, &old.id))?;
        session.ask_as("joins with an unknown id", version, &static_join(&group, "nobody"))?;
        let request = HeartbeatRequest {
            group_instance_id: INSTANCE,
            ..heartbeat(&group, &old)
        };
        session.ask_as("heartbeat", HEARTBEAT, &request)?;
        let request = SyncGroupRequest {
            group_instance_id: INSTANCE,
            ..sync(&group, &old, &[])
        };
        session.ask_as("sync", SYNC, &request)?;
        let request = OffsetCommitRequest {
            group_instance_id: INSTANCE,
            ..commit(&group, &old, &topic, 1)
        };
        session.ask_as("commit", COMMIT, &request)?;
        let request = LeaveGroupRequest {
            group_id: &group,
            members: vec![MemberIdentity {
                member_id: &old.id,
                group_instance_id: INSTANCE,
                reason: None,
            }],
            ..Default::default()
        };
        session.ask_as("leave", LEAVE, &request)?;
        close(session, &group, &[&new])
    });
}
