//! Produce (0): what is wrong with the request, the topic or the partition. What is wrong with a batch stands in
//! `produce_batches`.

use anyhow::Result;
use bytes::Bytes;
use klamm_types::Uuid;
use klamm_wire::produce_request::{PartitionProduceData, TopicProduceData};
use klamm_wire::{ApiKey, ProduceRequest, Tree};

use super::{bad_names, unknown_id};
use crate::batches;
use crate::case::{ALL, Case, Cases, from, until};
use crate::cluster::{Topic, list, number};
use crate::session::{Session, frame};

/// One partition of a topic.
pub fn part(index: i32, records: Bytes) -> PartitionProduceData {
    PartitionProduceData {
        index,
        records: Some(records),
    }
}

/// A request for some partitions of a topic, by name or by id as the version has it.
pub fn request(topic: &Topic, acks: i16, partition_data: Vec<PartitionProduceData>) -> ProduceRequest<'_> {
    let data = TopicProduceData {
        name: &topic.name,
        topic_id: topic.id,
        partition_data,
    };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 10_000,
        topic_data: vec![data],
    }
}

/// One batch for partition 0, acknowledged by all.
pub fn send(session: &mut Session<'_>, version: i16, topic: &Topic, what: &str, records: Bytes) -> Result<()> {
    session.ask_as(what, version, &request(topic, -1, vec![part(0, records)]))?;
    Ok(())
}

fn named(name: String) -> Topic {
    Topic { name, id: unknown_id() }
}

pub fn cases() -> Vec<Case> {
    let mut list = topics();
    list.extend(partitions());
    list.extend(acknowledgements());
    list.extend(transactions());
    list
}

fn topics() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    cases.add("three records, acks -1 and 1", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        for acks in [-1, 1] {
            session.ask(version, &request(&topic, acks, vec![part(0, batches::plain(3))]))?;
        }
        Ok(())
    });
    cases.add("an unknown topic beside a known one", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let unknown = named(session.name("unknown"));
        let mut both = request(&topic, -1, vec![part(0, batches::plain(1))]);
        both.topic_data
            .extend(request(&unknown, -1, vec![part(0, batches::plain(1))]).topic_data);
        session.ask(version, &both)?;
        Ok(())
    });
    cases.add("the zero id", from(13), |session, version| {
        let topic = Topic {
            name: String::new(),
            id: Uuid::ZERO,
        };
        send(session, version, &topic, "", batches::plain(1))
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), until(12), move |session, version| {
            send(session, version, &named(name.clone()), "", batches::plain(1))
        });
    }
    for index in [1, 99, -1, i32::MAX] {
        cases.add(format!("partition {index} of one"), ALL, move |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            session.ask(
                version,
                &request(
                    &topic,
                    -1,
                    vec![part(index, batches::plain(1)), part(0, batches::plain(1))],
                ),
            )?;
            Ok(())
        });
    }
    cases.add("a follower", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        for acks in [-1, 1] {
            session
                .to(2)
                .ask(version, &request(&topic, acks, vec![part(0, batches::plain(1))]))?;
        }
        Ok(())
    });
    cases.list
}

fn partitions() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    cases.add("a broker without a replica", ALL, |session, version| {
        let name = session.name("single");
        let mut topic = klamm_wire::create_topics_request::CreatableTopic {
            name: &name,
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        };
        topic.assignments = vec![crate::cluster::assignment(0, 1)];
        let known = session.cluster.topics.get(&name).cloned();
        let topic = match known {
            Some(topic) => topic,
            None => session.cluster.create(topic, 1)?,
        };
        session.to(3);
        send(session, version, &topic, "elsewhere", batches::plain(1))?;
        session.to(1);
        send(session, version, &topic, "one replica", batches::plain(1))
    });
    cases.add(
        "a partition twice, a topic twice, a topic without partitions",
        ALL,
        |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            let twice = vec![part(0, batches::plain(1)), part(0, batches::plain(2))];
            session.ask_as("a partition twice", version, &request(&topic, -1, twice))?;
            let mut twice = request(&topic, -1, vec![part(0, batches::plain(1))]);
            twice
                .topic_data
                .extend(request(&topic, -1, vec![part(0, batches::plain(2))]).topic_data);
            session.ask_as("a topic twice", version, &twice)?;
            session.ask_as("no partitions", version, &request(&topic, -1, Vec::new()))?;
            let none = ProduceRequest {
                acks: -1,
                timeout_ms: 1000,
                ..Default::default()
            };
            session.ask_as("no topics", version, &none)?;
            Ok(())
        },
    );
    cases.list
}

fn acknowledgements() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    for acks in [2, -2, i16::MAX] {
        cases.add(format!("acks {acks}"), ALL, move |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            let unknown = named(session.name("unknown"));
            let ask = |index, records| request(&topic, acks, vec![part(index, records)]);
            session.ask_as("a good batch", version, &ask(0, batches::plain(1)))?;
            session.ask_as("no such partition", version, &ask(5, batches::plain(1)))?;
            session.ask_as("no batch", version, &ask(0, Bytes::new()))?;
            let spoilt = batches::spoilt(&batches::plain(1), batches::RECORDS, &[0]);
            session.ask_as("a spoilt batch", version, &ask(0, spoilt))?;
            session.ask_as(
                "no such topic",
                version,
                &request(&unknown, acks, vec![part(0, batches::plain(1))]),
            )?;
            session
                .to(2)
                .ask_as("a follower", version, &ask(0, batches::plain(1)))?;
            Ok(())
        });
    }
    cases.add("acks 0", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let unknown = named(session.name("unknown"));
        let good = frame(&request(&topic, 0, vec![part(0, batches::plain(1))]), version)?;
        session.send_unanswered("a good batch", &good)?;
        let spoilt = batches::spoilt(&batches::plain(1), batches::RECORDS, &[0]);
        let spoilt = frame(&request(&topic, 0, vec![part(0, spoilt)]), version)?;
        session.send_unanswered("a spoilt batch", &spoilt)?;
        let lost = frame(&request(&unknown, 0, vec![part(0, batches::plain(1))]), version)?;
        session.send_unanswered("no such topic", &lost)?;
        send(session, version, &topic, "the next offset", batches::plain(1))
    });
    for timeout_ms in [0, -1] {
        cases.add(format!("a time-out of {timeout_ms}"), ALL, move |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            let mut asked = request(&topic, 1, vec![part(0, batches::plain(1))]);
            asked.timeout_ms = timeout_ms;
            session.ask(version, &asked)?;
            Ok(())
        });
    }
    cases.add("a time-out of 0 with acks -1", ALL, |session, version| {
        let topic = session.topic_with(version, &[])?;
        let mut asked = request(&topic, -1, vec![part(0, batches::plain(1))]);
        asked.timeout_ms = 0;
        // Followers may be faster than that.
        let late = |tree: &Tree| {
            let partitions = list(&list(tree, "responses")[0], "partition_responses");
            partitions.iter().all(|partition| number(partition, "error_code") != 0)
        };
        session.ask_until(version, &asked, late)?;
        Ok(())
    });
    cases.list
}

fn transactions() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    cases.add("a transactional id", ALL, |session, version| {
        let topic = session.topic_with(version, &[])?;
        let mut asked = request(&topic, -1, vec![part(0, batches::plain(1))]);
        asked.transactional_id = Some("t");
        session.ask(version, &asked)?;
        Ok(())
    });
    cases.add("a transactional batch without an id", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let records = batches::transactional(4_000_000);
        session.ask(version, &request(&topic, -1, vec![part(0, records)]))?;
        Ok(())
    });
    cases.list
}
