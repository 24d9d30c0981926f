//! What stories of KIP-848 groups are made of.

use anyhow::{Result, ensure};
use klamm_types::Uuid;
use klamm_wire::consumer_group_heartbeat_request::TopicPartitions;
use klamm_wire::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, Tree};

use super::living::Member;
use crate::cluster::{list, number};
use crate::session::Session;

/// Versions for what a story needs besides the API that it is about.
pub const BEAT: i16 = 1;
pub const CONSUMER_DESCRIBE: i16 = 1;

/// Joins, with everything that a member has to say.
pub fn full<'a>(group: &'a str, member: &'a str, topics: &[&'a str]) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group,
        member_id: member,
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(topics.to_vec()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// Nothing has changed since the last heartbeat.
pub fn beat<'a>(group: &'a str, member: &'a Member) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group,
        member_id: &member.id,
        member_epoch: member.generation,
        ..Default::default()
    }
}

/// The same, saying what the member owns.
pub fn owning<'a>(group: &'a str, member: &'a Member, owned: &[Owned]) -> ConsumerGroupHeartbeatRequest<'a> {
    let one = |(topic_id, partitions): &Owned| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.clone(),
    };
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(owned.iter().map(one).collect()),
        ..beat(group, member)
    }
}

/// A topic's id and partitions of it.
pub type Owned = (Uuid, Vec<i32>);

/// The epoch of the last answer, for a member that has chosen its id.
pub fn epoch(session: &mut Session<'_>, id: &str) -> Result<Member> {
    let answer = session.answer()?;
    let code = number(answer, "error_code");
    ensure!(code == 0, "the story cannot go on after error {code}");
    let epoch = i32::try_from(number(answer, "member_epoch"))?;
    Ok(Member::named(id, epoch))
}

/// What the last answer assigned; `None` if it says that nothing has changed.
pub fn assigned(session: &Session<'_>) -> Result<Option<Vec<Owned>>> {
    let Some(assignment @ Tree::Fields(_)) = session.answer()?.field("assignment") else {
        return Ok(None);
    };
    let one = |topic: &Tree| {
        let id = match topic.field("topic_id") {
            Some(Tree::Uuid(id)) => *id,
            _ => Uuid::ZERO,
        };
        let partitions = list(topic, "partitions").iter().filter_map(Tree::number);
        (id, partitions.filter_map(|index| i32::try_from(index).ok()).collect())
    };
    Ok(Some(list(assignment, "topic_partitions").iter().map(one).collect()))
}

/// A new member that has what its group gives it at once, by a join and the heartbeats that say what it owns.
pub fn settled(session: &mut Session<'_>, group: &str, id: &str, topics: &[&str]) -> Result<(Member, Vec<Owned>)> {
    session.ask_as(&format!("{id} joins"), BEAT, &full(group, id, topics))?;
    let member = epoch(session, id)?;
    let owned = assigned(session)?.unwrap_or_default();
    session.ask_as(
        &format!("{id} says what it owns"),
        BEAT,
        &owning(group, &member, &owned),
    )?;
    Ok((epoch(session, id)?, owned))
}

/// Two members that share a topic's partitions, Stable.
pub fn pair(session: &mut Session<'_>, group: &str, topic: &str) -> Result<[(Member, Vec<Owned>); 2]> {
    let (one, _) = settled(session, group, "one", &[topic])?;
    session.ask_as("two joins", BEAT, &full(group, "two", &[topic]))?;
    let two = epoch(session, "two")?;
    session.ask_as("one hears of it", BEAT, &beat(group, &one))?;
    let kept = assigned(session)?.unwrap_or_default();
    let one = epoch(session, "one")?;
    session.ask_as("one gives up", BEAT, &owning(group, &one, &kept))?;
    let one = epoch(session, "one")?;
    session.ask_as("two gets its part", BEAT, &owning(group, &two, &[]))?;
    let owned = assigned(session)?.unwrap_or_default();
    let two = epoch(session, "two")?;
    session.ask_as("two says so", BEAT, &owning(group, &two, &owned))?;
    let two = epoch(session, "two")?;
    Ok([(one, kept), (two, owned)])
}

/// A member goes for good.
pub fn leave(session: &mut Session<'_>, group: &str, member: &str) -> Result<()> {
    let gone = Member::named(member, -1);
    session.ask_as(&format!("{member} leaves"), BEAT, &beat(group, &gone))?;
    Ok(())
}

pub fn consumer_described(group: &str) -> ConsumerGroupDescribeRequest<'_> {
    ConsumerGroupDescribeRequest {
        group_ids: vec![group],
        include_authorized_operations: false,
    }
}

/// Describes a group whose last change was answered, so that it is in the log.
pub fn describe(session: &mut Session<'_>, what: &str, version: i16, group: &str) -> Result<()> {
    session.ask_as(what, version, &consumer_described(group))?;
    Ok(())
}
