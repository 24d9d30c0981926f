//! Fetch (1): where reading begins and ends, limits, epochs, sessions, and what may be wrong with a request.

use anyhow::Result;
use klamm_types::Uuid;
use klamm_wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use klamm_wire::{ApiKey, FetchRequest, ProduceRequest};

use super::produce::{part, request as produce};
use super::{bad_names, unknown_id};
use crate::batches;
use crate::case::{ALL, Case, Cases, from, until};
use crate::cluster::{Topic, list, number};
use crate::session::Session;

const KEY: ApiKey = ApiKey::Fetch;
/// Batches of three records each.
const BATCHES: i64 = 4;

fn at(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1_000_000,
        ..Default::default()
    }
}

fn of(topic: &Topic, partitions: Vec<FetchPartition>) -> FetchTopic<'_> {
    FetchTopic {
        topic: &topic.name,
        topic_id: topic.id,
        partitions,
    }
}

fn request(topics: Vec<FetchTopic<'_>>) -> FetchRequest<'_> {
    FetchRequest {
        max_wait_ms: 50,
        min_bytes: 1,
        max_bytes: 10_000_000,
        topics,
        ..Default::default()
    }
}

/// A topic with some batches in each of its partitions, written once.
fn filled(session: &mut Session<'_>, partitions: i32) -> Result<Topic> {
    let (topic, fresh) = session.shared("filled", partitions)?;
    for index in (0..partitions).filter(|_| fresh) {
        for _ in 0..BATCHES {
            write(
                session,
                &produce(&topic, -1, vec![part(index, batches::plain(3))]),
                index,
            )?;
        }
    }
    Ok(topic)
}

fn write(session: &mut Session<'_>, batch: &ProduceRequest<'_>, index: i32) -> Result<()> {
    let broker = 1 + i64::from(index) % 3;
    let tree = session.cluster.call(broker, 13, batch)?;
    let code = number(
        &list(&list(&tree, "responses")[0], "partition_responses")[0],
        "error_code",
    );
    anyhow::ensure!(code == 0, "the batch that prepares the case was refused: {code}");
    Ok(())
}

pub fn cases() -> Vec<Case> {
    let mut list = reading();
    list.extend(limits());
    list.extend(wrong());
    list.extend(odd());
    list.extend(epochs());
    list.extend(sessions());
    list
}

fn reading() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    for offset in [0, 1, 3, 11, 12, 13, 1000, -1, -2, i64::MAX, i64::MIN] {
        cases.add(format!("offset {offset} of 12"), ALL, move |session, version| {
            let topic = filled(session, 1)?;
            session.ask(version, &request(vec![of(&topic, vec![at(0, offset)])]))?;
            Ok(())
        });
    }
    cases.add("an empty partition, waiting or not", ALL, |session, version| {
        let (topic, _) = session.shared("empty", 1)?;
        for (max_wait_ms, min_bytes) in [(50, 1), (0, 1), (50, 0), (-1, 1), (50, -1)] {
            let mut asked = request(vec![of(&topic, vec![at(0, 0)])]);
            (asked.max_wait_ms, asked.min_bytes) = (max_wait_ms, min_bytes);
            session.ask(version, &asked)?;
        }
        Ok(())
    });
    cases.add("isolation level 1", ALL, |session, version| {
        let topic = filled(session, 1)?;
        for offset in [0, 12, 50] {
            let mut asked = request(vec![of(&topic, vec![at(0, offset)])]);
            asked.isolation_level = 1;
            session.ask(version, &asked)?;
        }
        Ok(())
    });
    for isolation_level in [2, -1] {
        cases.add(
            format!("isolation level {isolation_level}"),
            ALL,
            move |session, version| {
                let topic = filled(session, 1)?;
                let mut asked = request(vec![of(&topic, vec![at(0, 0)])]);
                asked.isolation_level = isolation_level;
                session.ask(version, &asked)?;
                Ok(())
            },
        );
    }
    cases.add("what was produced, byte by byte", ALL, |session, version| {
        let topic = session.topic_with(format!("bytes-{version}"), &[])?;
        use batches::{ATTRIBUTES, MAX_TIMESTAMP, TIME, plain, with};
        let mut batches = vec![plain(2), batches::idempotent(77, 3, 9, 2)];
        batches.push(with(&plain(2), MAX_TIMESTAMP, &(TIME + 9999).to_be_bytes()));
        batches.push(with(&plain(1), ATTRIBUTES, &8_i16.to_be_bytes()));
        batches.push(with(&plain(1), ATTRIBUTES, &0x7f80_i16.to_be_bytes()));
        for records in batches {
            session.set_up(13, &produce(&topic, -1, vec![part(0, records)]))?;
        }
        session.ask(version, &request(vec![of(&topic, vec![at(0, 0)])]))?;
        Ok(())
    });
    cases.list
}

fn limits() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    for bytes in [0, 1, 100, 110, 200, 210, 220, 330] {
        cases.add(format!("a limit of {bytes} bytes"), ALL, move |session, version| {
            let topic = filled(session, 1)?;
            let mut asked = at(0, 0);
            asked.partition_max_bytes = bytes;
            session.ask_as("by partition", version, &request(vec![of(&topic, vec![asked])]))?;
            let mut asked = request(vec![of(&topic, vec![at(0, 0)])]);
            asked.max_bytes = bytes;
            session.ask_as("at all", version, &asked)?;
            Ok(())
        });
    }
    cases.add("negative limits", ALL, |session, version| {
        let topic = filled(session, 1)?;
        let mut asked = at(0, 0);
        asked.partition_max_bytes = -1;
        session.ask_as("by partition", version, &request(vec![of(&topic, vec![asked])]))?;
        let mut asked = request(vec![of(&topic, vec![at(0, 0)])]);
        asked.max_bytes = -1;
        session.ask_as("at all", version, &asked)?;
        Ok(())
    });
    cases.add("a limit that the first partition uses up", ALL, |session, version| {
        let topic = filled(session, 4)?;
        let mut asked = request(vec![of(&topic, vec![at(3, 0), at(0, 0)])]);
        asked.max_bytes = 120;
        session.ask(version, &asked)?;
        Ok(())
    });
    cases.list
}

fn wrong() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    cases.add("an unknown topic beside a known one", ALL, |session, version| {
        let topic = filled(session, 1)?;
        let unknown = Topic {
            name: session.name("unknown"),
            id: unknown_id(),
        };
        session.ask(
            version,
            &request(vec![of(&unknown, vec![at(0, 0)]), of(&topic, vec![at(0, 0)])]),
        )?;
        Ok(())
    });
    cases.add("the zero id", from(13), |session, version| {
        let zero = Topic {
            name: String::new(),
            id: Uuid::ZERO,
        };
        session.ask(version, &request(vec![of(&zero, vec![at(0, 0)])]))?;
        Ok(())
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), until(12), move |session, version| {
            let topic = Topic {
                name: name.clone(),
                id: Uuid::ZERO,
            };
            session.ask(version, &request(vec![of(&topic, vec![at(0, 0)])]))?;
            Ok(())
        });
    }
    for index in [1, 99, -1] {
        cases.add(format!("partition {index} of one"), ALL, move |session, version| {
            let topic = filled(session, 1)?;
            session.ask(version, &request(vec![of(&topic, vec![at(index, 0), at(0, 9)])]))?;
            Ok(())
        });
    }
    cases.add("a follower", ALL, |session, version| {
        let topic = filled(session, 1)?;
        for offset in [0, 12, 1000] {
            session
                .to(2)
                .ask(version, &request(vec![of(&topic, vec![at(0, offset)])]))?;
        }
        Ok(())
    });
    cases.add(
        "a partition twice, a topic twice, a topic without partitions, nothing",
        ALL,
        |session, version| {
            let topic = filled(session, 1)?;
            session.ask_as(
                "a partition twice",
                version,
                &request(vec![of(&topic, vec![at(0, 0), at(0, 9)])]),
            )?;
            let twice = vec![of(&topic, vec![at(0, 0)]), of(&topic, vec![at(0, 9)])];
            session.ask_as("a topic twice", version, &request(twice))?;
            session.ask_as("no partitions", version, &request(vec![of(&topic, Vec::new())]))?;
            session.ask_as("nothing", version, &request(Vec::new()))?;
            Ok(())
        },
    );
    cases.list
}

fn odd() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    for replica_id in [-2, -3, 99] {
        cases.add(
            format!("replica id {replica_id}"),
            until(14),
            move |session, version| {
                let topic = filled(session, 1)?;
                let mut asked = request(vec![of(&topic, vec![at(0, 0)])]);
                asked.replica_id = replica_id;
                session.ask(version, &asked)?;
                Ok(())
            },
        );
    }
    cases.list
}

fn epochs() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    for epoch in [0, 1, 99, -1, -2] {
        cases.add(
            format!("current leader epoch {epoch} of 0"),
            from(9),
            move |session, version| {
                let topic = filled(session, 1)?;
                let mut asked = at(0, 9);
                asked.current_leader_epoch = epoch;
                session.ask_as("the leader", version, &request(vec![of(&topic, vec![asked.clone()])]))?;
                session
                    .to(2)
                    .ask_as("a follower", version, &request(vec![of(&topic, vec![asked])]))?;
                Ok(())
            },
        );
        cases.add(
            format!("last fetched epoch {epoch} of 0"),
            from(12),
            move |session, version| {
                let topic = filled(session, 1)?;
                for offset in [9, 12, 50] {
                    let mut asked = at(0, offset);
                    asked.last_fetched_epoch = epoch;
                    session.ask(version, &request(vec![of(&topic, vec![asked])]))?;
                }
                Ok(())
            },
        );
    }
    cases.list
}

fn sessions() -> Vec<Case> {
    let mut cases = Cases::of(KEY);
    for (id, epoch) in [
        (0, -1),
        (0, 1),
        (0, 7),
        (12_345, 1),
        (12_345, -1),
        (12_345, 0),
        (-1, 0),
        (-1, 1),
        (0, -2),
    ] {
        cases.add(
            format!("session {id}, epoch {epoch}"),
            from(7),
            move |session, version| {
                let topic = filled(session, 1)?;
                let mut asked = request(vec![of(&topic, vec![at(0, 9)])]);
                (asked.session_id, asked.session_epoch) = (id, epoch);
                session.ask(version, &asked)?;
                asked.topics = Vec::new();
                session.ask_as("nothing", version, &asked)?;
                Ok(())
            },
        );
    }
    cases.add("forgotten topics without a session", from(7), |session, version| {
        let topic = filled(session, 1)?;
        let mut asked = request(vec![of(&topic, vec![at(0, 9)])]);
        let forgotten = ForgottenTopic {
            topic: &topic.name,
            topic_id: topic.id,
            partitions: vec![0, 4],
        };
        asked.forgotten_topics_data = vec![forgotten];
        session.ask(version, &asked)?;
        Ok(())
    });
    cases.list
}
