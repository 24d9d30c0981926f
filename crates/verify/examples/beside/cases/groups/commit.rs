//! OffsetCommit: of simple consumers and of members, into groups that live and groups that do not.

use anyhow::Result;
use klamm_types::Uuid;
use klamm_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use klamm_wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use klamm_wire::{ApiKey, OffsetCommitRequest, OffsetFetchRequest};

use super::living::{
    self, HEARTBEAT, Member, NOBODY, alone, close, commit, describe, heartbeat, knock, topic, two_joined,
};
use crate::case::{ALL, Case, Cases, from, until};
use crate::cluster::Topic;
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::OffsetCommit);
    unknown_groups(&mut cases);
    values(&mut cases);
    topics(&mut cases);
    members(&mut cases);
    rebalances(&mut cases);
    cases.list
}

/// One offset of a partition, the topic by name or by id as the version wants it.
pub fn of<'a>(version: i16, group: &'a str, member: &'a Member, topic: &'a Topic) -> OffsetCommitRequest<'a> {
    let mut request = commit(group, member, &topic.name, 5);
    if version >= 10 {
        request.topics[0].topic_id = topic.id;
    }
    request
}

/// All offsets of a group, as a reader of any kind sees them.
pub fn fetched(session: &mut Session<'_>, group: &str) -> Result<()> {
    let groups = vec![OffsetFetchRequestGroup {
        group_id: group,
        topics: None,
        ..Default::default()
    }];
    let request = OffsetFetchRequest {
        groups,
        ..Default::default()
    };
    session.ask_as("what is stored", 9, &request)?;
    Ok(())
}

fn unknown_groups(cases: &mut Cases) {
    for (member, generation) in [
        ("", -1),
        ("m", -1),
        ("", 0),
        ("m", 0),
        ("m", 3),
        ("", -2),
        ("m", i32::MIN),
    ] {
        let name = format!("a group that does not exist, member {member:?}, generation {generation}");
        cases.add(name, ALL, move |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let member = Member::named(member, generation);
            session.ask(version, &of(version, &group, &member, &topic))?;
            fetched(session, &group)
        });
    }
    cases.add("an empty group id", ALL, |session, version| {
        let topic = topic(session)?;
        living::to_coordinator(session, "")?;
        session.ask(version, &of(version, "", &NOBODY, &topic))?;
        fetched(session, "")
    });
}

fn values(cases: &mut Cases) {
    cases.add("metadata and offsets", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let (long, longer) = ("m".repeat(4096), "m".repeat(4097));
        for (what, offset, metadata) in [
            ("no metadata", 1, None),
            ("empty metadata", 2, Some("")),
            ("a text", 3, Some("text")),
            ("4096 letters", 4, Some(long.as_str())),
            ("4097 letters", 5, Some(longer.as_str())),
            ("offset -1", -1, Some("")),
            ("the smallest offset", i64::MIN, Some("")),
            ("the largest offset", i64::MAX, Some("")),
        ] {
            let mut request = of(version, &group, &NOBODY, &topic);
            let partition = &mut request.topics[0].partitions[0];
            partition.committed_offset = offset;
            partition.committed_metadata = metadata;
            session.ask_as(what, version, &request)?;
            fetched(session, &group)?;
        }
        Ok(())
    });
    cases.add("letters that are long in bytes", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        for letters in [2048, 4096, 4097] {
            let metadata = "ä".repeat(letters);
            let mut request = of(version, &group, &NOBODY, &topic);
            request.topics[0].partitions[0].committed_metadata = Some(&metadata);
            session.ask_as(&format!("{letters} letters"), version, &request)?;
        }
        Ok(())
    });
    cases.add("leader epochs", from(6), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        for epoch in [-2, -1, 0, 7] {
            let mut request = of(version, &group, &NOBODY, &topic);
            request.topics[0].partitions[0].committed_leader_epoch = epoch;
            session.ask_as(&format!("leader epoch {epoch}"), version, &request)?;
            fetched(session, &group)?;
        }
        Ok(())
    });
    cases.add("a retention time", until(4), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        for retention_time_ms in [600_000, -1] {
            let request = OffsetCommitRequest {
                retention_time_ms,
                ..of(version, &group, &NOBODY, &topic)
            };
            session.ask_as("commits", version, &request)?;
            fetched(session, &group)?;
        }
        Ok(())
    });
}

fn topics(cases: &mut Cases) {
    cases.add("good and bad partitions in one request", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset: 5,
            ..Default::default()
        };
        let unknown = session.name("no-such-topic");
        let known = |partitions: &[i32]| OffsetCommitRequestTopic {
            name: &topic.name,
            topic_id: if version >= 10 { topic.id } else { Uuid::ZERO },
            partitions: partitions.iter().map(|index| partition(*index)).collect(),
        };
        let mut other = known(&[0, 1]);
        other.name = &unknown;
        if version >= 10 {
            other.topic_id = crate::cases::unknown_id();
        }
        let mut request = of(version, &group, &NOBODY, &topic);
        request.topics = vec![known(&[0, 3, -1]), other, known(&[1, 1])];
        session.ask(version, &request)?;
        fetched(session, &group)
    });
    cases.add("nothing", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let mut request = of(version, &group, &NOBODY, &topic);
        request.topics[0].partitions.clear();
        session.ask_as("a topic without partitions", version, &request)?;
        request.topics.clear();
        session.ask_as("no topics", version, &request)?;
        request.member_id = "m";
        request.generation_id_or_member_epoch = 4;
        session.ask_as("no topics, as a member", version, &request)?;
        request.group_id = "";
        session.ask_as("no topics, no group id", version, &request)?;
        Ok(())
    });
    cases.add("names that no topic has", until(9), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        for (what, name) in crate::cases::bad_names() {
            let mut request = of(version, &group, &NOBODY, &topic);
            request.topics[0].name = &name;
            session.ask_as(what, version, &request)?;
        }
        fetched(session, &group)
    });
    cases.add("the zero id", from(10), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let mut request = of(version, &group, &NOBODY, &topic);
        request.topics[0].topic_id = Uuid::ZERO;
        session.ask(version, &request)?;
        fetched(session, &group)
    });
}

fn members(cases: &mut Cases) {
    cases.add("into a stable group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = alone(session, &group, &[&topic.name])?;
        for (what, caller) in [
            ("the member", member.clone()),
            ("a simple consumer", NOBODY.clone()),
            ("the member's id with generation -1", member.with(-1)),
            ("no id with the generation", Member::named("", member.generation)),
            ("an unknown member", Member::named("nobody", member.generation)),
            ("an unknown member with generation -1", Member::named("nobody", -1)),
            ("an older generation", member.with(member.generation - 1)),
            ("a later generation", member.with(member.generation + 1)),
        ] {
            session.ask_as(what, version, &of(version, &group, &caller, &topic))?;
        }
        fetched(session, &group)?;
        close(session, &group, &[&member])
    });
    cases.add("into a group that has become empty", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = alone(session, &group, &[&topic.name])?;
        close(session, &group, &[&member])?;
        describe(session, "is empty", &group)?;
        for (what, caller) in [
            ("a simple consumer", NOBODY.clone()),
            ("who has left", member.clone()),
            ("who has left, with generation -1", member.with(-1)),
            ("any id with generation -1", Member::named("m", -1)),
            (
                "the group's generation without id",
                Member::named("", member.generation + 1),
            ),
            ("a later generation", Member::named("m", member.generation + 2)),
        ] {
            session.ask_as(what, version, &of(version, &group, &caller, &topic))?;
        }
        fetched(session, &group)
    });
    cases.add("a dynamic member with an instance id", from(7), |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = alone(session, &group, &[&topic.name])?;
        let request = OffsetCommitRequest {
            group_instance_id: Some("instance"),
            ..of(version, &group, &member, &topic)
        };
        session.ask_as("into the living group", version, &request)?;
        close(session, &group, &[&member])?;
        session.ask_as("into the empty group", version, &request)?;
        Ok(())
    });
}

fn rebalances(cases: &mut Cases) {
    cases.add("before the leader has synced", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let [first, second] = two_joined(session, &group, &[&topic.name])?;
        session.ask_as("a member", version, &of(version, &group, &second, &topic))?;
        let older = second.with(second.generation - 1);
        session.ask_as("an older generation", version, &of(version, &group, &older, &topic))?;
        session.ask_as("a simple consumer", version, &of(version, &group, &NOBODY, &topic))?;
        fetched(session, &group)?;
        close(session, &group, &[&first, &second])
    });
    cases.add("while the members join again", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let first = alone(session, &group, &[&topic.name])?;
        let second = knock(session, &group, &[&topic.name], "second")?;
        session.ask_as("a member", version, &of(version, &group, &first, &topic))?;
        let early = second.with(first.generation);
        session.ask_as("who waits", version, &of(version, &group, &early, &topic))?;
        let later = first.with(first.generation + 1);
        session.ask_as("a later generation", version, &of(version, &group, &later, &topic))?;
        session.ask_as("the member hears of it", HEARTBEAT, &heartbeat(&group, &first))?;
        fetched(session, &group)?;
        close(session, &group, &[&first])?;
        session.end("second")?;
        close(session, &group, &[&second])
    });
}

/// A topic's partitions for OffsetFetch up to version 7.
pub fn asked<'a>(name: &'a str, partitions: &[i32]) -> OffsetFetchRequestTopic<'a> {
    OffsetFetchRequestTopic {
        name,
        partition_indexes: partitions.to_vec(),
    }
}
