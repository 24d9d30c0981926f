//! CreateTopics (19), DeleteTopics (20) and CreatePartitions (37).

use anyhow::Result;
use klamm_types::Uuid;
use klamm_wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use klamm_wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use klamm_wire::delete_topics_request::DeleteTopicState;
use klamm_wire::{ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};

use super::{bad_names, unknown_id};
use crate::case::{ALL, Case, Cases, from, until};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut list = create();
    list.extend(create_oddly());
    list.extend(create_assigned());
    list.extend(create_configured());
    list.extend(delete());
    list.extend(delete_oddly());
    list.extend(create_partitions());
    list
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic<'_> {
    CreatableTopic {
        name,
        num_partitions,
        replication_factor,
        ..Default::default()
    }
}

fn creation(topics: Vec<CreatableTopic<'_>>, validate_only: bool) -> CreateTopicsRequest<'_> {
    CreateTopicsRequest {
        topics,
        timeout_ms: 15_000,
        validate_only,
    }
}

/// Asks as a check, then in earnest, then again.
fn thrice(session: &mut Session<'_>, version: i16, topic: &CreatableTopic<'_>) -> Result<()> {
    session.ask_as("only checked", version, &creation(vec![topic.clone()], true))?;
    session.ask_as("in earnest", version, &creation(vec![topic.clone()], false))?;
    session.ask_as("again", version, &creation(vec![topic.clone()], false))?;
    Ok(())
}

fn create() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::CreateTopics);
    let shapes = [
        (1, 3),
        (2, 1),
        (-1, -1),
        (3, -1),
        (-1, 2),
        (0, 3),
        (-2, 3),
        (1, 0),
        (1, -2),
        (1, 4),
        (0, 0),
        (1, i16::MAX),
        (i32::MIN, 1),
    ];
    for (partitions, replicas) in shapes {
        cases.add(
            format!("{partitions} partitions, {replicas} replicas"),
            ALL,
            move |session, version| {
                let name = session.name(version);
                thrice(session, version, &topic(&name, partitions, replicas))
            },
        );
    }
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), ALL, move |session, version| {
            thrice(session, version, &topic(&name, 1, 1))
        });
    }
    cases.add("the metadata topic", ALL, |session, version| {
        thrice(session, version, &topic("__cluster_metadata", 1, 1))
    });
    cases.add("a name that collides with another", ALL, |session, version| {
        session.topic_with("with.dot", &[])?;
        let name = session.name("with_dot");
        thrice(session, version, &topic(&name, 1, 1))
    });
    cases.add(
        "a topic twice, good and bad ones together, none",
        ALL,
        |session, version| {
            let (name, other) = (
                session.name(format!("twice-{version}")),
                session.name(format!("once-{version}")),
            );
            session.ask_as("none", version, &creation(Vec::new(), false))?;
            let topics = vec![
                topic(&name, 1, 1),
                topic(&other, 1, 1),
                topic("..", 1, 1),
                topic(&name, 2, 1),
            ];
            session.ask_as("a topic twice", version, &creation(topics, false))?;
            let topics = vec![topic(&other, 1, 1), topic(&name, 0, 1)];
            session.ask_as("existing and bad", version, &creation(topics, false))?;
            session.ask_as(
                "existing, twice",
                version,
                &creation(vec![topic(&other, 1, 1), topic(&other, 1, 1)], false),
            )?;
            Ok(())
        },
    );
    cases.list
}

fn create_oddly() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::CreateTopics);
    for timeout_ms in [0, -1] {
        cases.add(format!("a time-out of {timeout_ms}"), ALL, move |session, version| {
            let name = session.name(version);
            let mut request = creation(vec![topic(&name, 1, 1)], false);
            request.timeout_ms = timeout_ms;
            session.ask(version, &request)?;
            Ok(())
        });
    }
    cases.list
}

type Assignment = &'static [(i32, &'static [i32])];

fn create_assigned() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::CreateTopics);
    let assignments: [(&str, Assignment); 11] = [
        ("two partitions", &[(0, &[1, 2]), (1, &[2, 3])]),
        ("in another order", &[(1, &[2, 3]), (0, &[1, 2])]),
        ("an unknown broker", &[(0, &[1, 9])]),
        ("a negative broker", &[(0, &[1, -1])]),
        ("a broker twice", &[(0, &[1, 1])]),
        ("no brokers", &[(0, &[])]),
        ("uneven replicas", &[(0, &[1, 2]), (1, &[1])]),
        ("a partition twice", &[(0, &[1]), (0, &[2])]),
        ("a gap", &[(0, &[1]), (2, &[2])]),
        ("not from 0", &[(1, &[1])]),
        ("a negative partition", &[(-1, &[1]), (0, &[1])]),
    ];
    for (what, assignment) in assignments {
        cases.add(format!("an assignment with {what}"), ALL, move |session, version| {
            let name = session.name(version);
            let mut asked = topic(&name, -1, -1);
            let part = |(partition_index, broker_ids): &(i32, &[i32])| CreatableReplicaAssignment {
                partition_index: *partition_index,
                broker_ids: broker_ids.to_vec(),
            };
            asked.assignments = assignment.iter().map(part).collect();
            thrice(session, version, &asked)
        });
    }
    for (partitions, replicas) in [(1, -1), (-1, 1), (1, 1), (0, -1)] {
        cases.add(
            format!("an assignment with {partitions} partitions, {replicas} replicas"),
            ALL,
            move |session, version| {
                let name = session.name(version);
                let mut asked = topic(&name, partitions, replicas);
                asked.assignments = vec![CreatableReplicaAssignment {
                    partition_index: 0,
                    broker_ids: vec![1],
                }];
                thrice(session, version, &asked)
            },
        );
    }
    cases.list
}

/// Settings with good and bad values.
pub fn settings() -> Vec<(&'static str, Option<&'static str>)> {
    vec![
        ("retention.ms", Some("1000")),
        ("retention.ms", Some("-1")),
        ("retention.ms", Some("-2")),
        ("retention.ms", Some("")),
        ("retention.ms", Some("soon")),
        ("retention.ms", Some(" 1000 ")),
        ("retention.ms", Some("99999999999999999999")),
        ("retention.ms", None),
        ("retention.bytes", Some("-1")),
        ("retention.bytes", Some("-2")),
        ("cleanup.policy", Some("delete")),
        ("cleanup.policy", Some("erase")),
        ("compression.type", Some("zstd")),
        ("compression.type", Some("rar")),
        ("compression.gzip.level", Some("9")),
        ("compression.gzip.level", Some("0")),
        ("compression.zstd.level", Some("99")),
        ("max.message.bytes", Some("0")),
        ("max.message.bytes", Some("-1")),
        ("max.message.bytes", Some("2147483648")),
        ("message.timestamp.type", Some("LogAppendTime")),
        ("message.timestamp.type", Some("logappendtime")),
        ("message.timestamp.after.max.ms", Some("-1")),
        ("min.insync.replicas", Some("0")),
        ("min.insync.replicas", Some("7")),
        ("segment.bytes", Some("1048576")),
        ("segment.bytes", Some("1048575")),
        ("segment.ms", Some("0")),
        ("segment.ms", Some("1")),
        ("segment.index.bytes", Some("4")),
        ("segment.index.bytes", Some("3")),
        ("segment.jitter.ms", Some("-1")),
        ("index.interval.bytes", Some("-1")),
        ("file.delete.delay.ms", Some("-1")),
        ("unclean.leader.election.enable", Some("true")),
        ("unclean.leader.election.enable", Some("TRUE")),
        ("unclean.leader.election.enable", Some("yes")),
        ("preallocate", Some("false")),
        ("flush.messages", Some("0")),
        ("flush.messages", Some("1")),
        ("flush.messages", Some("9223372036854775807")),
        ("delete.retention.ms", Some("-1")),
        ("min.cleanable.dirty.ratio", Some("1.5")),
        ("min.compaction.lag.ms", Some("-1")),
        ("max.compaction.lag.ms", Some("0")),
        ("message.format.version", Some("3.0")),
        ("no.such.setting", Some("1")),
        ("", Some("1")),
    ]
}

fn create_configured() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::CreateTopics);
    for (number, (key, value)) in settings().into_iter().enumerate() {
        cases.add(format!("{key}={value:?}"), from(7), move |session, version| {
            let name = session.name(format!("{number}-{version}"));
            let mut asked = topic(&name, 1, 3);
            asked.configs = vec![CreatableTopicConfig { name: key, value }];
            session.ask(version, &creation(vec![asked], false))?;
            Ok(())
        });
    }
    cases.add("a setting twice, a good and a bad one", ALL, |session, version| {
        let set = |name, value| CreatableTopicConfig {
            name,
            value: Some(value),
        };
        for (what, configs) in [
            ("twice", vec![set("retention.ms", "5000"), set("retention.ms", "7000")]),
            (
                "good and bad",
                vec![set("retention.ms", "5000"), set("segment.ms", "x")],
            ),
        ] {
            let name = session.name(format!("{version}-{}", configs.len() + what.len()));
            let mut asked = topic(&name, 1, 3);
            asked.configs = configs;
            session.ask_as(what, version, &creation(vec![asked], false))?;
        }
        Ok(())
    });
    cases.list
}

fn deletion<'n>(names: &[&'n str], version: i16) -> DeleteTopicsRequest<'n> {
    let state = |name: &&'n str| DeleteTopicState {
        name: Some(name),
        topic_id: Uuid::ZERO,
    };
    let mut request = DeleteTopicsRequest {
        timeout_ms: 15_000,
        ..Default::default()
    };
    if version >= 6 {
        request.topics = names.iter().map(state).collect();
    } else {
        request.topic_names = names.to_vec();
    }
    request
}

fn delete() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DeleteTopics);
    cases.add("topics, known and unknown, twice and none", ALL, |session, version| {
        let known = session.topic_with(version, &[])?;
        let other = session.topic_with(format!("other-{version}"), &[])?;
        let unknown = session.name("unknown");
        session.ask_as("none", version, &deletion(&[], version))?;
        session.ask_as(
            "known and unknown",
            version,
            &deletion(&[&known.name, &unknown], version),
        )?;
        session.ask_as("gone", version, &deletion(&[&known.name], version))?;
        session.ask_as("twice", version, &deletion(&[&other.name, &other.name], version))?;
        session.ask_as("unknown twice", version, &deletion(&[&unknown, &unknown], version))?;
        Ok(())
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), ALL, move |session, version| {
            session.ask(version, &deletion(&[&name], version))?;
            Ok(())
        });
    }
    cases.add("the metadata topic", ALL, |session, version| {
        session.ask(version, &deletion(&["__cluster_metadata"], version))?;
        Ok(())
    });
    for timeout_ms in [0, -1] {
        cases.add(format!("a time-out of {timeout_ms}"), ALL, move |session, version| {
            let topic = session.topic_with(version, &[])?;
            let mut request = deletion(&[&topic.name], version);
            request.timeout_ms = timeout_ms;
            session.ask(version, &request)?;
            Ok(())
        });
    }
    cases.list
}

fn delete_oddly() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::DeleteTopics);
    cases.add("by id", from(6), |session, version| {
        let topic = session.topic_with("one", &[])?;
        let other = session.topic_with("two", &[])?;
        let third = session.topic_with("three", &[])?;
        let state = |name, topic_id| DeleteTopicState { name, topic_id };
        let asked = [
            ("unknown", vec![state(None, unknown_id())]),
            ("neither name nor id", vec![state(None, Uuid::ZERO)]),
            ("name and id", vec![state(Some(&*topic.name), topic.id)]),
            ("name and unknown id", vec![state(Some(&*topic.name), unknown_id())]),
            (
                "name beside id",
                vec![state(Some(&*topic.name), Uuid::ZERO), state(None, topic.id)],
            ),
            ("an id twice", vec![state(None, other.id), state(None, other.id)]),
            (
                "an unknown id twice",
                vec![state(None, unknown_id()), state(None, unknown_id())],
            ),
            ("known", vec![state(None, third.id)]),
            ("gone", vec![state(None, third.id)]),
        ];
        for (what, topics) in asked {
            session.ask_as(
                what,
                version,
                &DeleteTopicsRequest {
                    topics,
                    timeout_ms: 15_000,
                    ..Default::default()
                },
            )?;
        }
        Ok(())
    });
    cases.list
}

fn growth<'n>(name: &'n str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic<'n> {
    let assignment = |broker_ids: &&[i32]| CreatePartitionsAssignment {
        broker_ids: broker_ids.to_vec(),
    };
    let assignments = assignments.map(|all| all.iter().map(assignment).collect());
    CreatePartitionsTopic {
        name,
        count,
        assignments,
    }
}

fn grow(session: &mut Session<'_>, what: &str, version: i16, topics: Vec<CreatePartitionsTopic<'_>>) -> Result<()> {
    for validate_only in [true, false] {
        let topics = topics.clone();
        session.ask_as(
            what,
            version,
            &CreatePartitionsRequest {
                topics,
                timeout_ms: 15_000,
                validate_only,
            },
        )?;
    }
    Ok(())
}

/// What brokers new partitions may be given, by what is wrong with it.
const ASSIGNMENTS: [(&str, &[&[i32]]); 9] = [
    ("two", &[&[1, 2, 3], &[2, 3, 1]]),
    ("none", &[]),
    ("one too few", &[&[1, 2, 3]]),
    ("one too many", &[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]),
    ("an unknown broker", &[&[1, 2, 3], &[1, 2, 9]]),
    ("a broker twice", &[&[1, 2, 3], &[1, 2, 2]]),
    ("uneven replicas", &[&[1, 2, 3], &[1, 2]]),
    ("other replication factor", &[&[1, 2], &[1, 2]]),
    ("no brokers", &[&[], &[]]),
];

fn create_partitions() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::CreatePartitions);
    // Counts that Kafka would try to reach are left out: it keeps ten thousand partitions of a count that it refuses.
    for count in [2, 1, 0, -1, i32::MIN, 3] {
        cases.add(
            format!("{count} partitions instead of 2"),
            ALL,
            move |session, version| {
                let name = session.name(version);
                session.cluster.topic(&name, 2, &[])?;
                grow(session, "", version, vec![growth(&name, count, None)])
            },
        );
    }
    for (what, assignments) in ASSIGNMENTS {
        cases.add(format!("two more, assigned: {what}"), ALL, move |session, version| {
            let topic = session.topic_with(version, &[])?;
            grow(session, "", version, vec![growth(&topic.name, 3, Some(assignments))])
        });
    }
    cases.add("unknown topics, a topic twice, none", ALL, |session, version| {
        let topic = session.topic(1)?;
        let unknown = session.name("unknown");
        grow(session, "unknown", version, vec![growth(&unknown, 3, None)])?;
        grow(
            session,
            "twice",
            version,
            vec![growth(&topic.name, 3, None), growth(&topic.name, 4, None)],
        )?;
        grow(session, "none", version, Vec::new())?;
        grow(
            session,
            "bad and unknown",
            version,
            vec![growth(&topic.name, 1, None), growth(&unknown, 1, None)],
        )
    });
    for (what, name) in bad_names() {
        cases.add(format!("a bad name: {what}"), until(99), move |session, version| {
            grow(session, "", version, vec![growth(&name, 3, None)])
        });
    }
    for timeout_ms in [0, -1] {
        cases.add(format!("a time-out of {timeout_ms}"), ALL, move |session, version| {
            let topic = session.topic_with(version, &[])?;
            let topics = vec![growth(&topic.name, 2, None)];
            session.ask(
                version,
                &CreatePartitionsRequest {
                    topics,
                    timeout_ms,
                    validate_only: false,
                },
            )?;
            Ok(())
        });
    }
    cases.list
}
