//! ListOffsets (2) and OffsetForLeaderEpoch (23).

use anyhow::Result;
use klamm_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use klamm_wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use klamm_wire::{ApiKey, ListOffsetsRequest, OffsetForLeaderEpochRequest};

use super::bad_names;
use super::produce::{part, request as produce};
use crate::batches::{self, TIME};
use crate::case::{ALL, Case, Cases, from};
use crate::cluster::Topic;
use crate::session::Session;

fn at(partition_index: i32, timestamp: i64) -> ListOffsetsPartition {
    ListOffsetsPartition {
        partition_index,
        timestamp,
        ..Default::default()
    }
}

fn request(name: &str, partitions: Vec<ListOffsetsPartition>) -> ListOffsetsRequest<'_> {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name, partitions }],
        ..Default::default()
    }
}

/// A topic with three batches: of three records, one record, and three compressed ones.
fn filled(session: &mut Session<'_>) -> Result<Topic> {
    let (topic, fresh) = session.shared("filled", 1)?;
    if fresh {
        for records in [
            batches::plain(3),
            batches::plain(1),
            batches::compressed(klamm_record::Compression::Lz4),
        ] {
            session.set_up(13, &produce(&topic, -1, vec![part(0, records)]))?;
        }
    }
    Ok(topic)
}

pub fn cases() -> Vec<Case> {
    let mut list = offsets();
    list.extend(wrong_offsets());
    list.extend(odd_offsets());
    list.extend(leader_epochs());
    list
}

fn offsets() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::ListOffsets);
    let times = [
        -1,
        -2,
        -3,
        -4,
        -5,
        -6,
        -7,
        -100,
        i64::MIN,
        0,
        TIME - 1,
        TIME,
        TIME + 1,
        TIME + 10,
        TIME + 15,
        TIME + 20,
        TIME + 21,
        i64::MAX,
    ];
    for time in times {
        cases.add(format!("timestamp {time}"), ALL, move |session, version| {
            let topic = filled(session)?;
            for isolation_level in [0, 1] {
                let mut asked = request(&topic.name, vec![at(0, time)]);
                asked.isolation_level = if version >= 2 { isolation_level } else { 0 };
                session.ask(version, &asked)?;
            }
            Ok(())
        });
        cases.add(
            format!("timestamp {time} of an empty partition"),
            ALL,
            move |session, version| {
                let (topic, _) = session.shared("empty", 1)?;
                session.ask(version, &request(&topic.name, vec![at(0, time)]))?;
                Ok(())
            },
        );
    }
    cases.list
}

fn wrong_offsets() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::ListOffsets);
    for replica_id in [-2, -3, 1, 99] {
        cases.add(format!("replica id {replica_id}"), ALL, move |session, version| {
            let topic = filled(session)?;
            let mut asked = request(&topic.name, vec![at(0, -1)]);
            asked.replica_id = replica_id;
            session.ask_as("the leader", version, &asked)?;
            session.to(2).ask_as("a follower", version, &asked)?;
            Ok(())
        });
    }
    for isolation_level in [2, -1] {
        cases.add(
            format!("isolation level {isolation_level}"),
            from(2),
            move |session, version| {
                let topic = filled(session)?;
                let mut asked = request(&topic.name, vec![at(0, -1)]);
                asked.isolation_level = isolation_level;
                session.ask(version, &asked)?;
                Ok(())
            },
        );
    }
    cases.add("unknown topics and partitions, followers", ALL, |session, version| {
        let topic = filled(session)?;
        let unknown = session.name("unknown");
        for index in [1, 99, -1] {
            session.ask(version, &request(&topic.name, vec![at(index, -1), at(0, -1)]))?;
        }
        let mut both = request(&unknown, vec![at(0, -1)]);
        both.topics.extend(request(&topic.name, vec![at(0, -2)]).topics);
        session.ask(version, &both)?;
        for time in [-1, -2, TIME] {
            session
                .to(2)
                .ask_as("a follower", version, &request(&topic.name, vec![at(0, time)]))?;
        }
        Ok(())
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), ALL, move |session, version| {
            session.ask(version, &request(&name, vec![at(0, -1)]))?;
            Ok(())
        });
    }
    cases.list
}

fn odd_offsets() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::ListOffsets);
    cases.add("a partition twice, a topic twice, nothing", ALL, |session, version| {
        let topic = filled(session)?;
        session.ask_as(
            "a partition twice",
            version,
            &request(&topic.name, vec![at(0, -1), at(0, -2)]),
        )?;
        let mut twice = request(&topic.name, vec![at(0, -1)]);
        twice.topics.extend(request(&topic.name, vec![at(0, -2)]).topics);
        session.ask_as("a topic twice", version, &twice)?;
        session.ask_as("no partitions", version, &request(&topic.name, Vec::new()))?;
        session.ask_as(
            "nothing",
            version,
            &ListOffsetsRequest {
                replica_id: -1,
                ..Default::default()
            },
        )?;
        Ok(())
    });
    for epoch in [0, 1, 99, -1, -2] {
        cases.add(
            format!("current leader epoch {epoch} of 0"),
            from(4),
            move |session, version| {
                let topic = filled(session)?;
                for time in [-1, -2, TIME] {
                    let mut asked = at(0, time);
                    asked.current_leader_epoch = epoch;
                    session
                        .to(1)
                        .ask_as("the leader", version, &request(&topic.name, vec![asked.clone()]))?;
                    session
                        .to(2)
                        .ask_as("a follower", version, &request(&topic.name, vec![asked]))?;
                }
                Ok(())
            },
        );
    }
    for timeout_ms in [0, -1, 1] {
        cases.add(
            format!("a time-out of {timeout_ms}"),
            from(10),
            move |session, version| {
                let topic = filled(session)?;
                let mut asked = request(&topic.name, vec![at(0, -1)]);
                asked.timeout_ms = timeout_ms;
                session.ask(version, &asked)?;
                Ok(())
            },
        );
    }
    cases.list
}

fn epoch_request(
    topic: &str,
    partition: i32,
    current_leader_epoch: i32,
    leader_epoch: i32,
) -> OffsetForLeaderEpochRequest<'_> {
    let partition = OffsetForLeaderPartition {
        partition,
        current_leader_epoch,
        leader_epoch,
    };
    let topic = OffsetForLeaderTopic {
        topic,
        partitions: vec![partition],
    };
    OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![topic],
    }
}

fn leader_epochs() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::OffsetForLeaderEpoch);
    for current in [-1, 0, 1, 99, -2] {
        for wanted in [0, 1, 99, -1, -2] {
            cases.add(
                format!("epoch {wanted} with current leader epoch {current}"),
                ALL,
                move |session, version| {
                    let topic = filled(session)?;
                    let request = epoch_request(&topic.name, 0, current, wanted);
                    session.ask_as("the leader", version, &request)?;
                    session.to(2).ask_as("a follower", version, &request)?;
                    Ok(())
                },
            );
        }
    }
    cases.add("an empty partition", ALL, |session, version| {
        let (topic, _) = session.shared("empty", 1)?;
        session.ask(version, &epoch_request(&topic.name, 0, -1, 0))?;
        Ok(())
    });
    cases.add(
        "unknown topics and partitions, other replica ids",
        ALL,
        |session, version| {
            let topic = filled(session)?;
            let unknown = session.name("unknown");
            session.ask_as("no such topic", version, &epoch_request(&unknown, 0, -1, 0))?;
            for index in [1, -1] {
                session.ask_as("no such partition", version, &epoch_request(&topic.name, index, -1, 0))?;
            }
            for replica_id in [-2, 1, 99] {
                let mut request = epoch_request(&topic.name, 0, -1, 0);
                request.replica_id = replica_id;
                session.ask_as("another replica", version, &request)?;
            }
            let mut twice = epoch_request(&topic.name, 0, -1, 0);
            twice.topics.extend(epoch_request(&topic.name, 0, -1, 5).topics);
            session.ask_as("a topic twice", version, &twice)?;
            session.ask_as(
                "nothing",
                version,
                &OffsetForLeaderEpochRequest {
                    replica_id: -1,
                    ..Default::default()
                },
            )?;
            Ok(())
        },
    );
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), ALL, move |session, version| {
            session.ask(version, &epoch_request(&name, 0, -1, 0))?;
            Ok(())
        });
    }
    cases.list
}
