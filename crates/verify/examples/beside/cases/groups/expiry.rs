//! Time that runs out: members that fall silent, do not join again, do not sync or do not give up what they must; and
//! groups that are full. Each case waits for real, so it runs in the newest version only.

use std::ops::RangeInclusive;

use anyhow::Result;
use klamm_wire::{ApiKey, JoinGroupRequest};

use super::heartbeat::{self as beats, BEAT, CONSUMER_DESCRIBE, beat, full, owning};
use super::living::{
    self, HEARTBEAT, JOIN, Member, SYNC, alone, await_state, close, describe, enter, heartbeat, join, joined, knock,
    sync,
};
use crate::case::{Case, Cases};
use crate::cluster::{list, number, text};
use crate::session::Session;

/// The shortest session that both clusters allow.
const SHORT_SESSION_MS: i32 = 6_000;
const SHORT_REBALANCE_MS: i32 = 1_000;
/// `group.max.size` and `group.consumer.max.size` of both clusters.
const MEMBERS_MAX: usize = 8;

const NEWEST_JOIN: RangeInclusive<i16> = JOIN..=JOIN;

pub fn cases() -> Vec<Case> {
    let mut joins = Cases::of(ApiKey::JoinGroup);
    sessions(&mut joins);
    static_session(&mut joins);
    rebalances(&mut joins);
    full_classic(&mut joins);
    let mut consumers = Cases::of(ApiKey::ConsumerGroupHeartbeat);
    consumer_timeouts(&mut consumers);
    full_consumer(&mut consumers);
    joins.list.into_iter().chain(consumers.list).collect()
}

/// A member that has joined with times of its own.
fn enter_with(session: &mut Session<'_>, group: &str, name: &str, times: [i32; 2]) -> Result<Member> {
    let mut request = join(group, "", &["t"]);
    [request.session_timeout_ms, request.rebalance_timeout_ms] = times;
    session.ask_as("gets an id", JOIN, &request)?;
    let member = joined(session, name)?;
    request.member_id = &member.id;
    session.ask_as("joins", JOIN, &request)?;
    joined(session, name)
}

fn sessions(cases: &mut Cases) {
    cases.add("the only member falls silent", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let member = enter_with(session, &group, "first", [SHORT_SESSION_MS, 30_000])?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        await_state(session, &group, "Empty")?;
        describe(session, "the group", &group)?;
        session.ask_as("its heartbeat", HEARTBEAT, &heartbeat(&group, &member))?;
        session.ask_as("joins again with its id", version, &join(&group, &member.id, &["t"]))?;
        Ok(())
    });
    cases.add("one of two members falls silent", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let silent = enter_with(session, &group, "silent", [SHORT_SESSION_MS, 30_000])?;
        session.ask_as("syncs", SYNC, &sync(&group, &silent, &[&silent]))?;
        knock(session, &group, &["t"], "second")?;
        let mut request = join(&group, &silent.id, &["t"]);
        request.session_timeout_ms = SHORT_SESSION_MS;
        session.ask_as("joins again", JOIN, &request)?;
        let silent = joined(session, "silent")?;
        session.end("second")?;
        let second = joined(session, "second")?;
        session.ask_as("the leader syncs", SYNC, &sync(&group, &silent, &[&silent, &second]))?;
        session.ask_as("the other syncs", SYNC, &sync(&group, &second, &[]))?;
        await_state(session, &group, "PreparingRebalance")?;
        session.ask_as("the silent one", HEARTBEAT, &heartbeat(&group, &silent))?;
        session.ask_as("the other", HEARTBEAT, &heartbeat(&group, &second))?;
        session.ask_as("the other joins again", version, &join(&group, &second.id, &["t"]))?;
        let second = joined(session, "second")?;
        close(session, &group, &[&second])
    });
    cases.add("an id that nobody joins with", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let mut request = join(&group, "", &["t"]);
        request.session_timeout_ms = SHORT_SESSION_MS;
        session.ask_as("gets an id", version, &request)?;
        let pending = joined(session, "pending")?;
        // A member with a session as short, which runs out later than the id does.
        let witness = enter_with(session, &group, "witness", [SHORT_SESSION_MS, 30_000])?;
        session.ask_as("the witness syncs", SYNC, &sync(&group, &witness, &[&witness]))?;
        await_state(session, &group, "Empty")?;
        session.ask_as("joins with the id", version, &join(&group, &pending.id, &["t"]))?;
        Ok(())
    });
}

fn static_session(cases: &mut Cases) {
    cases.add("a static member falls silent", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let request = JoinGroupRequest {
            group_instance_id: Some("instance"),
            session_timeout_ms: SHORT_SESSION_MS,
            ..join(&group, "", &["t"])
        };
        session.ask_as("joins", version, &request)?;
        let member = joined(session, "first")?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        await_state(session, &group, "Empty")?;
        describe(session, "the group", &group)?;
        session.ask_as("joins again", version, &request)?;
        let again = joined(session, "again")?;
        close(session, &group, &[&again])
    });
}

/// A request to join with a rebalance time-out that a case can wait for.
fn join_shortly<'a>(group: &'a str, member: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        rebalance_timeout_ms: SHORT_REBALANCE_MS,
        ..join(group, member, &["t"])
    }
}

/// The only member of a Stable group, and one that has its id and has not joined yet.
fn member_and_newcomer(session: &mut Session<'_>, group: &str) -> Result<[Member; 2]> {
    let first = enter_with(session, group, "first", [30_000, SHORT_REBALANCE_MS])?;
    session.ask_as("syncs", SYNC, &sync(group, &first, &[&first]))?;
    session.ask_as("the second gets an id", JOIN, &join_shortly(group, ""))?;
    let second = joined(session, "second")?;
    Ok([first, second])
}

fn rebalances(cases: &mut Cases) {
    cases.add("a member that does not join again", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = member_and_newcomer(session, &group)?;
        session.ask_as("the second joins", version, &join_shortly(&group, &second.id))?;
        let second = joined(session, "second")?;
        session.ask_as("the first", HEARTBEAT, &heartbeat(&group, &first))?;
        session.ask_as("the second leads", SYNC, &sync(&group, &second, &[&second]))?;
        describe(session, "the group", &group)?;
        close(session, &group, &[&second])
    });
    cases.add("a leader that does not sync", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let [first, second] = member_and_newcomer(session, &group)?;
        session.begin("second", version, &join_shortly(&group, &second.id))?;
        await_state(session, &group, "PreparingRebalance")?;
        session.ask_as("the first joins again", JOIN, &join_shortly(&group, &first.id))?;
        let first = joined(session, "first")?;
        session.end("second")?;
        let second = joined(session, "second")?;
        // The leader says nothing; who has synced waits, and is told to join again.
        session.begin("the follower syncs", SYNC, &sync(&group, &second, &[]))?;
        session.end("the follower syncs")?;
        session.ask_as("the leader", HEARTBEAT, &heartbeat(&group, &first))?;
        session.ask_as("the follower", HEARTBEAT, &heartbeat(&group, &second))?;
        session.ask_as("the follower joins again", version, &join(&group, &second.id, &["t"]))?;
        let second = joined(session, "second")?;
        close(session, &group, &[&second])
    });
}

fn full_classic(cases: &mut Cases) {
    cases.add("a group that is full", NEWEST_JOIN, |session, version| {
        let group = living::group(session, version)?;
        let first = alone(session, &group, &["t"])?;
        let instances: Vec<String> = (1..MEMBERS_MAX).map(|number| format!("instance-{number}")).collect();
        let lanes = ["a", "b", "c", "d", "e", "f", "g"];
        for (lane, instance) in lanes.into_iter().zip(&instances) {
            let request = JoinGroupRequest {
                group_instance_id: Some(instance),
                ..join(&group, "", &["t"])
            };
            session.begin(lane, JOIN, &request)?;
            let members = |tree: &klamm_wire::Tree| {
                let count = list(tree, "groups")
                    .first()
                    .map_or(0, |group| list(group, "members").len());
                count >= 2
                    && list(tree, "groups")
                        .iter()
                        .all(|group| text(group, "group_state") == "PreparingRebalance")
            };
            session.wait(0, &living::described(&group), members)?;
        }
        session.ask_as("one more", version, &join(&group, "", &["t"]))?;
        joined(session, "one more")?;
        let more = JoinGroupRequest {
            group_instance_id: Some("one-more"),
            ..join(&group, "", &["t"])
        };
        session.ask_as("one more with an instance", version, &more)?;
        session.ask_as("one with an unknown id", version, &join(&group, "nobody", &["t"]))?;
        session.ask_as("the first joins again", version, &join(&group, &first.id, &["t"]))?;
        let first = joined(session, "first")?;
        let mut everyone = vec![first];
        for lane in lanes {
            session.end(lane)?;
            everyone.push(joined(session, lane)?);
        }
        session.ask_as("one more in the new generation", version, &join(&group, "", &["t"]))?;
        joined(session, "yet one more")?;
        let everyone: Vec<&Member> = everyone.iter().collect();
        close(session, &group, &everyone)?;
        let member = enter(session, &group, &["t"], "in the empty group")?;
        close(session, &group, &[&member])
    });
}

fn consumer_timeouts(cases: &mut Cases) {
    cases.add("a member falls silent", BEAT..=BEAT, |session, _| {
        let topic = living::topic(session)?;
        let group = living::group(session, BEAT)?;
        let (one, _) = beats::settled(session, &group, "one", &[&topic.name])?;
        await_state_of(session, &group, "Empty")?;
        session.ask_as("its heartbeat", BEAT, &beat(&group, &one))?;
        beats::describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("joins again", BEAT, &full(&group, "one", &[&topic.name]))?;
        beats::leave(session, &group, "one")
    });
    cases.add(
        "a member that does not give up what it must",
        BEAT..=BEAT,
        |session, _| {
            let group = living::group(session, BEAT)?;
            let topic = living::topic(session)?;
            let mut joining = full(&group, "one", &[&topic.name]);
            joining.rebalance_timeout_ms = SHORT_REBALANCE_MS;
            session.ask_as("one joins", BEAT, &joining)?;
            let one = beats::epoch(session, "one")?;
            let owned = beats::assigned(session)?.unwrap_or_default();
            session.ask_as("one says what it owns", BEAT, &owning(&group, &one, &owned))?;
            let one = beats::epoch(session, "one")?;
            session.ask_as("two joins", BEAT, &full(&group, "two", &[&topic.name]))?;
            let two = beats::epoch(session, "two")?;
            session.ask_as("one is to give up its part", BEAT, &beat(&group, &one))?;
            // Two beats until it is given everything: one is out by then.
            let everything = |tree: &klamm_wire::Tree| {
                let assignment = tree.field("assignment");
                let topics = assignment.map_or(&[][..], |assignment| list(assignment, "topic_partitions"));
                number(tree, "error_code") != 0 || topics.iter().any(|topic| list(topic, "partitions").len() == 3)
            };
            session.ask_until_as("two gets everything", BEAT, &owning(&group, &two, &[]), everything)?;
            session.ask_as("one comes back", BEAT, &beat(&group, &one))?;
            beats::leave(session, &group, "two")
        },
    );
}

fn await_state_of(session: &mut Session<'_>, group: &str, state: &str) -> Result<()> {
    session.wait(CONSUMER_DESCRIBE, &beats::consumer_described(group), |tree| {
        list(tree, "groups")
            .first()
            .is_some_and(|group| text(group, "group_state") == state)
    })?;
    Ok(())
}

fn full_consumer(cases: &mut Cases) {
    cases.add("a group that is full", BEAT..=BEAT, |session, _| {
        let topic = living::topic(session)?;
        let group = living::group(session, BEAT)?;
        let ids: Vec<String> = (1..=MEMBERS_MAX).map(|number| format!("member-{number}")).collect();
        for id in &ids {
            session.set_up(BEAT, &full(&group, id, &[&topic.name]))?;
        }
        session.ask_as("one more", BEAT, &full(&group, "one-more", &[&topic.name]))?;
        let mut with_instance = full(&group, "one-more", &[&topic.name]);
        with_instance.instance_id = Some("instance");
        session.ask_as("one more with an instance", BEAT, &with_instance)?;
        session.ask_as("who is in joins again", BEAT, &full(&group, &ids[0], &[&topic.name]))?;
        for id in &ids {
            beats::leave(session, &group, id)?;
        }
        session.ask_as("the group is empty", BEAT, &full(&group, "one-more", &[&topic.name]))?;
        beats::leave(session, &group, "one-more")
    });
}
