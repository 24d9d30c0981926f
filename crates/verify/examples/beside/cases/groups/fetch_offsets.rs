//! OffsetFetch: of groups that live, that are empty and that do not exist.

use anyhow::Result;
use klamm_wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use klamm_wire::{ApiKey, OffsetFetchRequest};

use super::commit::{asked, of};
use super::living::{self, COMMIT, Member, NOBODY, alone, close, topic};
use crate::case::{ALL, Case, Cases, from};
use crate::cluster::Topic;
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::OffsetFetch);
    partitions(&mut cases);
    living_groups(&mut cases);
    several(&mut cases);
    cases.list
}

pub type Wanted<'w, 'a> = Option<&'w [(&'a Topic, &'w [i32])]>;

/// Partitions of a group in the form that the version has; `None` asks for all.
pub fn fetch<'a>(version: i16, group: &'a str, wanted: Wanted<'_, 'a>) -> OffsetFetchRequest<'a> {
    if version <= 7 {
        let topics = wanted.map(|wanted| {
            let one = |(topic, partitions): &(&'a Topic, &[i32])| asked(&topic.name, partitions);
            wanted.iter().map(one).collect()
        });
        return OffsetFetchRequest {
            group_id: group,
            topics,
            ..Default::default()
        };
    }
    OffsetFetchRequest {
        groups: vec![of_group(version, group, wanted)],
        ..Default::default()
    }
}

fn of_group<'a>(version: i16, group: &'a str, wanted: Wanted<'_, 'a>) -> OffsetFetchRequestGroup<'a> {
    let one = |(topic, partitions): &(&'a Topic, &[i32])| OffsetFetchRequestTopics {
        name: &topic.name,
        topic_id: if version >= 10 {
            topic.id
        } else {
            klamm_types::Uuid::ZERO
        },
        partition_indexes: partitions.to_vec(),
    };
    OffsetFetchRequestGroup {
        group_id: group,
        topics: wanted.map(|wanted| wanted.iter().map(one).collect()),
        ..Default::default()
    }
}

/// A simple consumer's group with one offset.
fn simple(session: &mut Session<'_>, version: i16) -> Result<(String, Topic)> {
    let topic = topic(session)?;
    let group = living::group(session, version)?;
    session.ask_as("a commit", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
    Ok((group, topic))
}

fn unknown() -> Topic {
    Topic {
        name: "no-such-topic".into(),
        id: crate::cases::unknown_id(),
    }
}

fn partitions(cases: &mut Cases) {
    cases.add("a group that does not exist", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as(
            "one partition",
            version,
            &fetch(version, &group, Some(&[(&topic, &[0])])),
        )?;
        if version >= 2 {
            session.ask_as("all", version, &fetch(version, &group, None))?;
        }
        Ok(())
    });
    cases.add("an empty group id", ALL, |session, version| {
        let topic = topic(session)?;
        living::to_coordinator(session, "")?;
        session.ask(version, &fetch(version, "", Some(&[(&topic, &[0])])))?;
        Ok(())
    });
    cases.add("partitions with and without offsets", ALL, |session, version| {
        let (group, topic) = simple(session, version)?;
        let unknown = unknown();
        for (what, wanted) in [
            ("all of the topic", vec![(&topic, &[0, 1, 2][..])]),
            ("the topic has no such partition", vec![(&topic, &[3, -1][..])]),
            ("a partition twice", vec![(&topic, &[0, 0][..])]),
            ("the topic twice", vec![(&topic, &[0][..]), (&topic, &[1][..])]),
            ("an unknown topic", vec![(&topic, &[0][..]), (&unknown, &[0, 1][..])]),
            ("no partitions", vec![(&topic, &[][..])]),
            ("no topics", vec![]),
        ] {
            session.ask_as(what, version, &fetch(version, &group, Some(&wanted)))?;
        }
        if version >= 2 {
            session.ask_as("all", version, &fetch(version, &group, None))?;
        }
        Ok(())
    });
    cases.add("require_stable", from(7), |session, version| {
        let (group, topic) = simple(session, version)?;
        let wanted = [(&topic, &[0, 1][..])];
        let mut request = fetch(version, &group, Some(&wanted));
        request.require_stable = true;
        session.ask_as("two partitions", version, &request)?;
        let mut request = fetch(version, &group, None);
        request.require_stable = true;
        session.ask_as("all", version, &request)?;
        Ok(())
    });
}

fn living_groups(cases: &mut Cases) {
    cases.add("of a living group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = alone(session, &group, &[&topic.name])?;
        session.ask_as("a commit", COMMIT, &of(COMMIT, &group, &member, &topic))?;
        session.ask_as(
            "two partitions",
            version,
            &fetch(version, &group, Some(&[(&topic, &[0, 1])])),
        )?;
        close(session, &group, &[&member])?;
        session.ask_as(
            "when it is empty",
            version,
            &fetch(version, &group, Some(&[(&topic, &[0, 1])])),
        )?;
        Ok(())
    });
    cases.add(
        "a classic group with member ids and epochs",
        from(9),
        |session, version| {
            let topic = topic(session)?;
            let group = living::group(session, version)?;
            let member = alone(session, &group, &[&topic.name])?;
            session.ask_as("a commit", COMMIT, &of(COMMIT, &group, &member, &topic))?;
            for (what, caller) in callers(&member) {
                let mut request = fetch(version, &group, Some(&[(&topic, &[0])]));
                request.groups[0].member_id = caller.0;
                request.groups[0].member_epoch = caller.1;
                session.ask_as(what, version, &request)?;
            }
            close(session, &group, &[&member])
        },
    );
}

type Caller<'a> = (Option<&'a str>, i32);

/// Who may ask for the offsets of a group with a member.
pub fn callers(member: &Member) -> Vec<(&'static str, Caller<'_>)> {
    let epoch = member.generation;
    vec![
        ("the member", (Some(&member.id), epoch)),
        ("nobody", (None, -1)),
        ("nobody with an epoch", (None, epoch)),
        ("an empty id", (Some(""), -1)),
        ("an empty id with an epoch", (Some(""), epoch)),
        ("the member without its epoch", (Some(&member.id), -1)),
        ("an older epoch", (Some(&member.id), epoch - 1)),
        ("a later epoch", (Some(&member.id), epoch + 1)),
        ("an unknown member", (Some("nobody"), epoch)),
    ]
}

fn several(cases: &mut Cases) {
    cases.add("several groups", from(8), |session, version| {
        let (group, topic) = simple(session, version)?;
        let wanted = [(&topic, &[0, 1][..])];
        let mut request = fetch(version, &group, Some(&wanted));
        request.groups.push(of_group(version, &group, None));
        request.groups.push(of_group(version, &group, Some(&[])));
        session.ask_as("one group three times", version, &request)?;
        request.groups.clear();
        session.ask_as("none", version, &request)?;
        Ok(())
    });
}
