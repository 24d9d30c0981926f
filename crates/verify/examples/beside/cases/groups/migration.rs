//! Groups that change their protocol, and groups whose members speak both.

use anyhow::Result;
use klamm_wire::{ApiKey, JoinGroupRequest};

use super::heartbeat::{BEAT, CONSUMER_DESCRIBE, beat, describe, epoch, full, leave, owning, settled};
use super::living::{
    self, DESCRIBE, HEARTBEAT, JOIN, Member, SYNC, alone, close, described, good, heartbeat, join, joined, sync, topic,
};
use crate::case::{ALL, Case, Cases, from};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut joins = Cases::of(ApiKey::JoinGroup);
    classic_joins(&mut joins);
    classic_refusals(&mut joins);
    let mut beats = Cases::of(ApiKey::ConsumerGroupHeartbeat);
    consumer_joins(&mut beats);
    consumer_takes_over(&mut beats);
    joins.list.into_iter().chain(beats.list).collect()
}

/// Joins a group of the new protocol by the old one, with one request or two.
fn classic_join(session: &mut Session<'_>, version: i16, request: &JoinGroupRequest<'_>) -> Result<Member> {
    session.ask_as("a classic member joins", version, request)?;
    let member = joined(session, "classic")?;
    if version < 4 || request.group_instance_id.is_some() {
        good(session)?;
        return Ok(member);
    }
    let request = JoinGroupRequest {
        member_id: &member.id,
        ..request.clone()
    };
    session.ask_as("with its id", version, &request)?;
    good(session)?;
    joined(session, "classic")
}

fn classic_joins(cases: &mut Cases) {
    cases.add("into a KIP-848 group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (one, owned) = settled(session, &group, "one", &[&topic.name])?;
        let classic = classic_join(session, version, &join(&group, "", &[&topic.name]))?;
        describe(session, "both", CONSUMER_DESCRIBE, &group)?;
        session.ask_as("it syncs", SYNC, &sync(&group, &classic, &[]))?;
        session.ask_as("its heartbeat", HEARTBEAT, &heartbeat(&group, &classic))?;
        session.ask_as("one hears of it", BEAT, &beat(&group, &one))?;
        let kept = super::heartbeat::assigned(session)?.unwrap_or(owned);
        let one = epoch(session, "one")?;
        session.ask_as("one gives up", BEAT, &owning(&group, &one, &kept))?;
        session.ask_as("it hears of its part", HEARTBEAT, &heartbeat(&group, &classic))?;
        let mut request = join(&group, &classic.id, &[&topic.name]);
        request.session_timeout_ms = 20_000;
        session.ask_as("it joins again", version, &request)?;
        let classic = joined(session, "classic")?;
        session.ask_as("it syncs again", SYNC, &sync(&group, &classic, &[]))?;
        session.ask_as("its heartbeat then", HEARTBEAT, &heartbeat(&group, &classic))?;
        session.ask_as("an older generation", HEARTBEAT, &heartbeat(&group, &classic.with(1)))?;
        describe(session, "both share", CONSUMER_DESCRIBE, &group)?;
        close(session, &group, &[&classic])?;
        leave(session, &group, "one")
    });
    cases.add(
        "into a KIP-848 group, which becomes classic",
        ALL,
        |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            settled(session, &group, "one", &[&topic.name])?;
            let classic = classic_join(session, version, &join(&group, "", &[&topic.name]))?;
            leave(session, &group, "one")?;
            session.ask_as("the classic group", DESCRIBE, &described(&group))?;
            session.ask_as(
                "the former group",
                CONSUMER_DESCRIBE,
                &super::heartbeat::consumer_described(&group),
            )?;
            session.ask_as("it hears of it", HEARTBEAT, &heartbeat(&group, &classic))?;
            session.ask_as("it joins again", version, &join(&group, &classic.id, &[&topic.name]))?;
            let classic = joined(session, "classic")?;
            close(session, &group, &[&classic])
        },
    );
}

fn classic_refusals(cases: &mut Cases) {
    cases.add("what a KIP-848 group refuses", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "one", &[&topic.name])?;
        let mut request = join(&group, "", &[&topic.name]);
        request.protocol_type = "connect";
        session.ask_as("another protocol type", version, &request)?;
        let mut request = join(&group, "", &[&topic.name]);
        request.protocols.clear();
        session.ask_as("no protocols", version, &request)?;
        let mut request = join(&group, "", &[&topic.name]);
        request.protocols[0].metadata = bytes::Bytes::from_static(b"any");
        session.ask_as("an unreadable subscription", version, &request)?;
        session.ask_as("an unknown member", version, &join(&group, "nobody", &[&topic.name]))?;
        leave(session, &group, "one")
    });
    cases.add("into a KIP-848 group that is empty", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        settled(session, &group, "one", &[&topic.name])?;
        leave(session, &group, "one")?;
        let classic = classic_join(session, version, &join(&group, "", &[&topic.name]))?;
        session.ask_as("it syncs", SYNC, &sync(&group, &classic, &[&classic]))?;
        living::describe(session, "a classic group", &group)?;
        close(session, &group, &[&classic])
    });
    cases.add(
        "a static classic member in place of a KIP-848 one",
        from(5),
        |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let mut first = full(&group, "one", &[&topic.name]);
            first.instance_id = Some("instance");
            session.ask_as("one joins", BEAT, &first)?;
            let mut request = join(&group, "", &[&topic.name]);
            request.group_instance_id = Some("instance");
            session.ask_as("another of its instance", version, &request)?;
            joined(session, "refused")?;
            let one = Member::named("one", -2);
            let mut away = beat(&group, &one);
            away.instance_id = Some("instance");
            session.ask_as("one leaves for a while", BEAT, &away)?;
            session.ask_as("another of its instance then", version, &request)?;
            let classic = joined(session, "classic")?;
            session.ask_as("the group", DESCRIBE, &described(&group))?;
            close(session, &group, &[&classic])
        },
    );
}

fn consumer_joins(cases: &mut Cases) {
    cases.add("into a classic group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let classic = alone(session, &group, &[&topic.name])?;
        session.ask_as("joins", version, &full(&group, "one", &[&topic.name]))?;
        leave_both(session, &group, &classic)
    });
    cases.add(
        "into a classic group that shares its partitions out",
        ALL,
        |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let classic = living::enter(session, &group, &[&topic.name], "first")?;
            let mut request = sync(&group, &classic, &[&classic]);
            request.assignments[0].assignment = assignment(&topic.name);
            session.ask_as("syncs", SYNC, &request)?;
            good(session)?;
            session.ask_as("joins", version, &full(&group, "one", &[&topic.name]))?;
            let one = epoch(session, "one")?;
            describe(session, "both", CONSUMER_DESCRIBE, &group)?;
            session.ask_as(
                "the classic member hears of it",
                HEARTBEAT,
                &heartbeat(&group, &classic),
            )?;
            session.ask_as("and joins", JOIN, &join(&group, &classic.id, &[&topic.name]))?;
            let classic = joined(session, "first")?;
            session.ask_as("and syncs", SYNC, &sync(&group, &classic, &[]))?;
            session.ask_as("one gets its part", version, &beat(&group, &one))?;
            describe(session, "both share", CONSUMER_DESCRIBE, &group)?;
            leave_both(session, &group, &classic)
        },
    );
    cases.add("into a classic group of another kind", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = living::of_another_kind(session, &group)?;
        session.ask_as("a KIP-848 member", version, &full(&group, "one", &[&topic.name]))?;
        let one = Member::named("one", 1);
        session.ask_as("goes on", version, &beat(&group, &one))?;
        close(session, &group, &[&member])
    });
    cases.add("into a classic group that rebalances", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        // Who subscribes to what is not there leaves all to the other.
        let classic = living::enter(session, &group, &["no-such-topic"], "first")?;
        session.ask_as("before it syncs", version, &full(&group, "one", &[&topic.name]))?;
        leave_both(session, &group, &classic)
    });
}

fn consumer_takes_over(cases: &mut Cases) {
    cases.add("into a classic group that is empty", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let classic = alone(session, &group, &[&topic.name])?;
        close(session, &group, &[&classic])?;
        session.ask_as("goes on", version, &beat(&group, &Member::named("one", 1)))?;
        session.ask_as("joins", version, &full(&group, "one", &[&topic.name]))?;
        epoch(session, "one")?;
        describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "one")
    });
    cases.add("into a group that only has offsets", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let request = super::commit::of(living::COMMIT, &group, &living::NOBODY, &topic);
        session.ask_as("commits", living::COMMIT, &request)?;
        session.ask_as("joins", version, &full(&group, "one", &[&topic.name]))?;
        super::commit::fetched(session, &group)?;
        describe(session, "the group", CONSUMER_DESCRIBE, &group)?;
        leave(session, &group, "one")
    });
}

fn leave_both(session: &mut Session<'_>, group: &str, classic: &Member) -> Result<()> {
    leave(session, group, "one")?;
    close(session, group, &[classic])
}

/// A consumer's assignment as clients write it: the first three partitions of a topic.
fn assignment(topic: &str) -> bytes::Bytes {
    use bytes::BufMut;
    let mut bytes = bytes::BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(topic.len() as i16);
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(3);
    for partition in 0..3 {
        bytes.put_i32(partition);
    }
    bytes.put_i32(-1);
    bytes.freeze()
}
