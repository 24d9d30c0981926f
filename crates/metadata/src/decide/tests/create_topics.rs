//! CreateTopics: every error of Kafka's table, and the records of one creation as a whole.

use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, Cause};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{
    CreatableTopic, CreatableTopicResult, CreateTopicsReply, CreateTopicsRequest, ReplicaAssignment, TopicSetting,
};
use klamm_types::{ErrorCode, NodeId, TopicId};

use super::script::{World, directory_id};
use crate::decide::{Claim, decide};

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![],
        configs: vec![],
        ..CreatableTopic::default()
    }
}

fn create(world: &mut World, topics: Vec<CreatableTopic>, validate_only: bool) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest { topics, validate_only };
    match world.request(Request::CreateTopics(request)) {
        Reply::CreateTopics(CreateTopicsReply { topics }) => topics,
        other => panic!("{other:?}"),
    }
}

fn codes(results: &[CreatableTopicResult]) -> Vec<(&str, &str)> {
    let named = results.iter().map(|result| {
        let code = ErrorCode::from_code(i16::try_from(result.error_code).unwrap()).unwrap();
        (result.name.as_str(), code.name())
    });
    named.collect()
}

fn with(change: impl FnOnce(&mut CreatableTopic)) -> CreatableTopic {
    let mut asked = topic("new");
    change(&mut asked);
    asked
}

fn lists(lists: &[(i32, &[i32])]) -> Vec<ReplicaAssignment> {
    let assignments = lists.iter().map(|&(partition, replicas)| ReplicaAssignment {
        partition,
        replicas: replicas.to_vec(),
    });
    assignments.collect()
}

fn setting(name: &str, value: Option<&str>) -> TopicSetting {
    TopicSetting {
        name: name.into(),
        value: value.map(str::to_string),
    }
}

type Case = (&'static str, CreatableTopic, &'static str);

fn names_and_counts() -> Vec<Case> {
    vec![
        ("exists", topic("taken.name"), "TOPIC_ALREADY_EXISTS"),
        ("collides", topic("taken_name"), "INVALID_TOPIC_EXCEPTION"),
        ("empty name", topic(""), "INVALID_TOPIC_EXCEPTION"),
        ("bad name", topic("a b"), "INVALID_TOPIC_EXCEPTION"),
        ("dots", topic(".."), "INVALID_TOPIC_EXCEPTION"),
        ("too long", topic(&"a".repeat(250)), "INVALID_TOPIC_EXCEPTION"),
        ("reserved", topic("__cluster_metadata"), "INVALID_REQUEST"),
        ("no partitions", with(|t| t.num_partitions = 0), "INVALID_PARTITIONS"),
        (
            "negative partitions",
            with(|t| t.num_partitions = -2),
            "INVALID_PARTITIONS",
        ),
        (
            "no replicas",
            with(|t| t.replication_factor = 0),
            "INVALID_REPLICATION_FACTOR",
        ),
        (
            "negative replicas",
            with(|t| t.replication_factor = -2),
            "INVALID_REPLICATION_FACTOR",
        ),
        (
            "too many replicas",
            with(|t| t.replication_factor = 4),
            "INVALID_REPLICATION_FACTOR",
        ),
        (
            "the factor is looked at first",
            with(|t| (t.num_partitions, t.replication_factor) = (0, 0)),
            "INVALID_REPLICATION_FACTOR",
        ),
        ("fenced brokers count", with(|t| t.replication_factor = 3), "NONE"),
    ]
}

fn replica_lists() -> Vec<Case> {
    vec![
        (
            "too many partitions",
            with(|t| t.num_partitions = 10_001),
            "POLICY_VIOLATION",
        ),
        (
            "lists and counts",
            with(|t| (t.num_partitions, t.assignments) = (1, lists(&[(0, &[1])]))),
            "INVALID_REQUEST",
        ),
        (
            "unknown broker",
            with(|t| t.assignments = lists(&[(0, &[1, 9])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
        (
            "broker twice",
            with(|t| t.assignments = lists(&[(0, &[1, 1])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
        (
            "empty list",
            with(|t| t.assignments = lists(&[(0, &[])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
        (
            "only fenced",
            with(|t| t.assignments = lists(&[(0, &[3])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
        (
            "uneven",
            with(|t| t.assignments = lists(&[(0, &[1, 2]), (1, &[1])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
        (
            "gap",
            with(|t| t.assignments = lists(&[(0, &[1]), (2, &[1])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
        (
            "partition twice",
            with(|t| t.assignments = lists(&[(0, &[1]), (0, &[2])])),
            "INVALID_REPLICA_ASSIGNMENT",
        ),
    ]
}

fn settings() -> Vec<Case> {
    vec![
        (
            "null value",
            with(|t| t.configs = vec![setting("retention.ms", None)]),
            "INVALID_CONFIG",
        ),
        (
            "unknown key",
            with(|t| t.configs = vec![setting("x", Some("1"))]),
            "INVALID_CONFIG",
        ),
        (
            "bad value",
            with(|t| t.configs = vec![setting("retention.ms", Some("x"))]),
            "INVALID_CONFIG",
        ),
        (
            "removed in 4.0",
            with(|t| t.configs = vec![setting("message.format.version", Some("3.0"))]),
            "INVALID_CONFIG",
        ),
        (
            "compaction",
            with(|t| t.configs = vec![setting("cleanup.policy", Some("compact"))]),
            "INVALID_CONFIG",
        ),
        (
            "keep all",
            with(|t| t.configs = vec![setting("cleanup.policy", Some(""))]),
            "NONE",
        ),
        (
            "the last of two wins",
            with(|t| t.configs = vec![setting("segment.ms", Some("0")), setting("segment.ms", Some("5"))]),
            "INVALID_CONFIG",
        ),
    ]
}

#[test]
fn every_error_of_the_table() {
    let mut world = World::with_brokers(3);
    world.run("create taken.name partitions=1 rf=1");
    world.run("fence 3");
    let cases = [names_and_counts(), replica_lists(), settings()].concat();
    for (case, asked, expected) in cases {
        let name = asked.name.clone();
        let results = create(&mut world, vec![asked], true);
        assert_eq!(codes(&results), [(name.as_str(), expected)], "{case}");
        assert_eq!(results[0].error_message.is_empty(), expected == "NONE", "{case}");
    }
    assert_eq!(world.image.topics().len(), 1, "trials create nothing");
    let twice = create(&mut world, vec![topic("a"), topic("b"), topic("a")], false);
    assert_eq!(codes(&twice), [("a", "INVALID_REQUEST"), ("b", "NONE")]);
    world.run("fence 1");
    world.run("fence 2");
    assert_eq!(
        codes(&create(&mut world, vec![topic("c")], false)),
        [("c", "INVALID_REPLICATION_FACTOR")]
    );
}

fn new_partition(topic: TopicId, partition: i32, replicas: [i32; 2]) -> Record {
    Record::Partition(schema::Partition {
        topic_id: id_bytes(topic.as_bytes()),
        partition,
        replicas: replicas.to_vec(),
        directories: replicas
            .iter()
            .map(|&id| id_bytes(directory_id(id, 0).as_bytes()))
            .collect(),
        leadership: Some(schema::Leadership {
            leader: replicas[0],
            isr: replicas.to_vec(),
            elr: vec![],
            last_known_elr: vec![],
            leader_epoch: 0,
            partition_epoch: 0,
        }),
        decision: Some(schema::Decision {
            cause: Cause::Created.into(),
            evidence: String::new(),
            decided_at_ms: 1_000,
            ..schema::Decision::default()
        }),
    })
}

#[test]
fn one_creation_as_a_whole() {
    let world = World::with_brokers(2);
    let mut overlay = world.overlay();
    let mut asked = topic("t");
    asked.assignments = lists(&[(1, &[1, 2]), (0, &[2, 1])]);
    asked.configs = vec![
        setting("retention.ms", Some(" 1000 ")),
        setting("retention.ms", Some("2000")),
    ];
    let request = CreateTopicsRequest {
        topics: vec![asked],
        validate_only: false,
    };
    let reply = decide(&mut overlay, &Request::CreateTopics(request), Claim::Free);
    let id = overlay.image().topic_by_name("t").unwrap().id;
    let Reply::CreateTopics(reply) = reply else {
        panic!("{reply:?}");
    };
    let result = &reply.topics[0];
    assert_eq!(TopicId::from_slice(&result.topic_id), Some(id));
    assert_eq!((result.num_partitions, result.replication_factor), (2, 2));
    let retention = result
        .configs
        .iter()
        .find(|config| config.name == "retention.ms")
        .unwrap();
    assert_eq!((retention.value.as_str(), retention.source), ("2000", 1));
    assert_eq!(result.configs.len(), crate::config::TOPIC_SETTINGS.len());

    let expected = [
        Record::Topic(schema::Topic {
            topic_id: id_bytes(id.as_bytes()),
            name: "t".into(),
        }),
        Record::Config(schema::Config {
            resource_type: schema::ResourceType::Topic.into(),
            resource_name: "t".into(),
            name: "retention.ms".into(),
            value: Some("2000".into()),
        }),
        new_partition(id, 0, [2, 1]),
        new_partition(id, 1, [1, 2]),
    ];
    let written: Vec<Record> = overlay
        .records()
        .iter()
        .filter_map(|record| record.record.clone())
        .collect();
    assert_eq!(written, expected);
    assert!(overlay.records().iter().all(|record| record.version == 1));
}

#[test]
fn defaults_of_the_cluster() {
    let mut world = World::with_brokers(2);
    let result = create(&mut world, vec![topic("few-brokers")], false);
    assert_eq!(
        (result[0].num_partitions, result[0].replication_factor),
        (1, 2),
        "never more than brokers"
    );
    world.run("register 3");
    world.run("register 4");
    world.run("set cluster num.partitions=5");
    let result = create(&mut world, vec![topic("more-brokers")], false);
    assert_eq!((result[0].num_partitions, result[0].replication_factor), (5, 3));
    let state = world.partition("more-brokers-0");
    let live: Vec<NodeId> = state.replicas.iter().copied().filter(|id| id.0 < 3).collect();
    assert_eq!(state.isr, live, "fenced brokers hold replicas but are not in sync");
}

/// The answer to the first may have been lost: whoever asks again must not be told that another was faster.
#[test]
fn a_creation_that_is_repeated_finds_its_own_topic() {
    let mut world = World::with_brokers(3);
    let asked = |name: &str, id: u128| CreatableTopic {
        topic_id: id_bytes(TopicId::from_u128(id).as_bytes()),
        num_partitions: 2,
        ..topic(name)
    };
    let first = create(&mut world, vec![asked("mine", 7)], false);
    assert_eq!(codes(&first), [("mine", "NONE")]);
    assert_eq!(TopicId::from_slice(&first[0].topic_id), Some(TopicId::from_u128(7)));
    let before = world.image.to_records();
    assert_eq!(create(&mut world, vec![asked("mine", 7)], false), first);
    let others = vec![asked("mine", 8), topic("mine")];
    for other in others {
        assert_eq!(
            codes(&create(&mut world, vec![other], false)),
            [("mine", "TOPIC_ALREADY_EXISTS")]
        );
    }
    assert_eq!(world.image.to_records(), before);
    // An id that another topic has is drawn anew.
    let second = create(&mut world, vec![asked("yours", 7)], false);
    assert_eq!(codes(&second), [("yours", "NONE")]);
    assert_ne!(second[0].topic_id, first[0].topic_id);
}
