//! OffsetDelete: what a group that lives may lose, and what it may not.

use klamm_wire::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use klamm_wire::{ApiKey, OffsetDeleteRequest};

use super::commit::{fetched, of};
use super::living::{self, COMMIT, JOIN, NOBODY, SYNC, alone, close, enter, join, joined, knock, sync, topic};
use crate::case::{ALL, Case, Cases};

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::OffsetDelete);
    empty_groups(&mut cases);
    living_groups(&mut cases);
    cases.list
}

pub fn delete<'a>(group: &'a str, topics: &[(&'a str, &[i32])]) -> OffsetDeleteRequest<'a> {
    let partition = |index: &i32| OffsetDeleteRequestPartition {
        partition_index: *index,
    };
    let topic = |(name, partitions): &(&'a str, &[i32])| OffsetDeleteRequestTopic {
        name,
        partitions: partitions.iter().map(partition).collect(),
    };
    OffsetDeleteRequest {
        group_id: group,
        topics: topics.iter().map(topic).collect(),
    }
}

fn empty_groups(cases: &mut Cases) {
    cases.add("groups that do not exist", ALL, |session, version| {
        let topic = topic(session)?.name;
        let group = living::group(session, version)?;
        session.ask_as("with partitions", version, &delete(&group, &[(&topic, &[0])]))?;
        session.ask_as("without topics", version, &delete(&group, &[]))?;
        living::to_coordinator(session, "")?;
        session.ask_as("without group id", version, &delete("", &[(&topic, &[0])]))?;
        Ok(())
    });
    cases.add("a simple consumer's group", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
        let name = topic.name.as_str();
        let several = [(name, &[1, 3, -1][..]), ("no-such-topic", &[0, 1][..])];
        session.ask_as("without offsets, or unknown", version, &delete(&group, &several))?;
        session.ask_as(
            "the topic twice",
            version,
            &delete(&group, &[(name, &[1]), (name, &[2])]),
        )?;
        session.ask_as("no topics", version, &delete(&group, &[]))?;
        session.ask_as("no partitions", version, &delete(&group, &[(name, &[])]))?;
        session.ask_as("twice in one request", version, &delete(&group, &[(name, &[0, 0])]))?;
        fetched(session, &group)
    });
    cases.add("a group that has lost its last offset", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &NOBODY, &topic))?;
        for what in ["once", "once more"] {
            session.ask_as(what, version, &delete(&group, &[(&topic.name, &[0])]))?;
        }
        Ok(())
    });
    cases.add("a group that has become empty", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = alone(session, &group, &[&topic.name])?;
        session.ask_as("commits", COMMIT, &of(COMMIT, &group, &member, &topic))?;
        close(session, &group, &[&member])?;
        session.ask(version, &delete(&group, &[(&topic.name, &[0, 1])]))?;
        fetched(session, &group)
    });
}

fn living_groups(cases: &mut Cases) {
    cases.add(
        "topics that members subscribe to, and others",
        ALL,
        |session, version| {
            let topic = topic(session)?;
            let other = session.topic_with("other", &[])?;
            let group = living::group(session, version)?;
            let member = alone(session, &group, &[&topic.name])?;
            for topic in [&topic, &other] {
                session.ask_as("commits", COMMIT, &of(COMMIT, &group, &member, topic))?;
            }
            let both = [(topic.name.as_str(), &[0, 1, 7][..]), (other.name.as_str(), &[0][..])];
            session.ask_as("stable", version, &delete(&group, &both))?;
            fetched(session, &group)?;
            let second = knock(session, &group, &[&other.name], "second")?;
            session.ask_as("while it rebalances", version, &delete(&group, &both))?;
            session.ask_as("joins", JOIN, &join(&group, &member.id, &[&topic.name]))?;
            let member = joined(session, "first")?;
            session.end("second")?;
            session.ask_as("before the leader syncs", version, &delete(&group, &both))?;
            session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
            session.ask_as("two subscriptions", version, &delete(&group, &both))?;
            fetched(session, &group)?;
            close(session, &group, &[&member, &second])
        },
    );
    cases.add("a group whose subscriptions cannot be read", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = enter(session, &group, &[&topic.name], "first")?;
        let mut request = join(&group, &member.id, &[]);
        request.protocols[0].metadata = bytes::Bytes::from_static(b"no subscription");
        session.ask_as("joins", JOIN, &request)?;
        let member = joined(session, "first")?;
        session.ask_as("syncs", SYNC, &sync(&group, &member, &[&member]))?;
        session.ask(version, &delete(&group, &[(&topic.name, &[0])]))?;
        close(session, &group, &[&member])
    });
    cases.add("a living group of another protocol type", ALL, |session, version| {
        let topic = topic(session)?;
        let group = living::group(session, version)?;
        let member = living::of_another_kind(session, &group)?;
        session.ask(
            version,
            &delete(&group, &[(&topic.name, &[0]), ("no-such-topic", &[0])]),
        )?;
        close(session, &group, &[&member])
    });
}
