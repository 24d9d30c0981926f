//! DeleteTopics, CreatePartitions, producer ids, features.

use klamm_schema::id_bytes;
use klamm_schema::requests as r;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{ErrorCode, TopicId};

use super::script::World;

fn name(code: i32) -> &'static str {
    ErrorCode::from_code(i16::try_from(code).unwrap()).unwrap().name()
}

#[test]
fn topics_are_deleted_by_name_or_id() {
    let mut world = World::with_brokers(1);
    for topic in ["a", "b", "c", "d"] {
        world.run(&format!("create {topic} partitions=2 rf=1 retention.ms=5"));
    }
    let id = |world: &World, topic: &str| id_bytes(world.topic_id(topic).as_bytes());
    let by_name = |name: &str| r::DeletableTopic {
        name: Some(name.into()),
        topic_id: None,
    };
    let by_id = |topic_id| r::DeletableTopic {
        name: None,
        topic_id: Some(topic_id),
    };
    let both = r::DeletableTopic {
        name: Some("d".into()),
        topic_id: Some(id(&world, "d")),
    };
    let b = id(&world, "b");
    let unknown = id_bytes(TopicId::from_u128(1).as_bytes());
    let topics = vec![
        by_name("a"),
        by_id(b.clone()),
        by_name("c"),
        by_id(id(&world, "c")),
        both,
        r::DeletableTopic::default(),
        by_name("none"),
        by_name("a b"),
        by_id(unknown),
    ];
    let delete = |world: &mut World, topics: Vec<r::DeletableTopic>, again: bool| {
        let request = r::DeleteTopicsRequest { topics, again };
        let Reply::DeleteTopics(reply) = world.request(Request::DeleteTopics(request)) else {
            panic!("another reply");
        };
        let results = reply.topics.into_iter();
        let results = results.map(|topic| (topic.name, name(topic.error_code)));
        results.collect::<Vec<_>>()
    };
    let results = delete(&mut world, topics, false);
    let results: Vec<_> = results.iter().map(|(name, error)| (name.as_deref(), *error)).collect();
    assert_eq!(
        results,
        [
            (Some("a"), "NONE"),
            (Some("b"), "NONE"),
            // Once, though it was named in two ways.
            (Some("c"), "INVALID_REQUEST"),
            (Some("d"), "INVALID_REQUEST"),
            (None, "INVALID_REQUEST"),
            (Some("none"), "UNKNOWN_TOPIC_OR_PARTITION"),
            (Some("a b"), "UNKNOWN_TOPIC_OR_PARTITION"),
            (None, "UNKNOWN_TOPIC_ID"),
        ]
    );
    let left: Vec<&str> = world.image.topic_ids().keys().map(AsRef::as_ref).collect();
    assert_eq!(left, ["c", "d"]);
    let gone = vec![by_name("a"), by_id(b.clone()), r::DeletableTopic::default()];
    let results = delete(&mut world, gone, true);
    let errors: Vec<&str> = results.iter().map(|(_, error)| *error).collect();
    assert_eq!(
        errors,
        ["NONE", "NONE", "INVALID_REQUEST"],
        "the answer to the first attempt was lost"
    );
    assert_eq!(world.image.configs().len(), 2, "settings go with their topics");
    world.run("create b partitions=1 rf=1");
    assert_ne!(id(&world, "b"), b, "a topic created again has another id");
    world.run("set cluster delete.topic.enable=false");
    let results = delete(&mut world, vec![by_name("b")], false);
    assert_eq!(results[0].1, "TOPIC_DELETION_DISABLED");
}

#[test]
fn partitions_are_added() {
    let mut world = World::with_brokers(3);
    world.run("create t partitions=2 rf=2");
    let before: Vec<_> = world.image.topic_by_name("t").unwrap().partitions.clone();
    let add = |world: &mut World, topic: &str, count: i32, lists: &[&[i32]], validate_only: bool| {
        let assignments = lists.iter().zip(0..).map(|(list, partition)| r::ReplicaAssignment {
            partition,
            replicas: list.to_vec(),
        });
        let request = r::CreatePartitionsRequest {
            topics: vec![r::CreatePartitionsTopic {
                name: topic.into(),
                count,
                assignments: assignments.collect(),
            }],
            validate_only,
            ..Default::default()
        };
        match world.request(Request::CreatePartitions(request)) {
            Reply::CreatePartitions(reply) => name(reply.results[0].error_code),
            other => panic!("{other:?}"),
        }
    };
    let errors = [
        add(&mut world, "none", 3, &[], false),
        add(&mut world, "t", 2, &[], false),
        add(&mut world, "t", 0, &[], false),
        add(&mut world, "t", 200_000, &[], false),
        add(&mut world, "t", i32::MIN, &[], false),
        add(&mut world, "t", 4, &[&[1, 2]], false),
        add(&mut world, "t", 3, &[&[1, 2, 3]], false),
        add(&mut world, "t", 3, &[&[1, 9]], false),
        add(&mut world, "t", 3, &[], true),
    ];
    assert_eq!(
        errors,
        [
            "UNKNOWN_TOPIC_OR_PARTITION",
            "INVALID_PARTITIONS",
            "INVALID_PARTITIONS",
            "INVALID_PARTITIONS",
            "INVALID_PARTITIONS",
            "INVALID_REPLICA_ASSIGNMENT",
            "INVALID_REPLICA_ASSIGNMENT",
            "INVALID_REPLICA_ASSIGNMENT",
            "NONE",
        ]
    );
    assert_eq!(world.image.topic_by_name("t").unwrap().partitions, before);
    assert_eq!(add(&mut world, "t", 3, &[&[3, 1]], false), "NONE");
    assert_eq!(add(&mut world, "t", 6, &[], false), "NONE");
    let after = &world.image.topic_by_name("t").unwrap().partitions;
    assert_eq!(after[..2], before[..], "existing partitions stay as they are");
    assert_eq!(after[2].replicas, [klamm_types::NodeId(3), klamm_types::NodeId(1)]);
    assert!(
        after[2..]
            .iter()
            .all(|state| state.leader_epoch.0 == 0 && state.replicas.len() == 2)
    );
    assert_eq!(after.len(), 6);
}

#[test]
fn partitions_that_an_earlier_attempt_has_added_are_no_error() {
    let mut world = World::with_brokers(3);
    world.run("create t partitions=6 rf=2");
    for (count, expected) in [(6, "NONE"), (5, "INVALID_PARTITIONS"), (7, "NONE")] {
        let request = r::CreatePartitionsRequest {
            topics: vec![r::CreatePartitionsTopic {
                name: "t".into(),
                count,
                assignments: Vec::new(),
            }],
            again: true,
            ..Default::default()
        };
        let Reply::CreatePartitions(reply) = world.request(Request::CreatePartitions(request)) else {
            panic!("another reply");
        };
        assert_eq!(
            name(reply.results[0].error_code),
            expected,
            "{count}, when the answer to the first attempt was lost"
        );
    }
    assert_eq!(world.image.topic_by_name("t").unwrap().partitions.len(), 7);
}

#[test]
fn producer_ids_come_in_blocks_and_only_once() {
    let mut world = World::with_brokers(2);
    let allocate = |world: &mut World, broker: i32, broker_epoch: i64| {
        let request = r::AllocateProducerIdsRequest { broker, broker_epoch };
        match world.request(Request::AllocateProducerIds(request)) {
            Reply::AllocateProducerIds(reply) => (name(reply.error_code), reply.first_producer_id, reply.count),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(allocate(&mut world, 1, 1), ("NONE", 0, 1000));
    assert_eq!(allocate(&mut world, 1, 1), ("NONE", 1000, 1000));
    assert_eq!(allocate(&mut world, 2, 2), ("NONE", 2000, 1000));
    assert_eq!(allocate(&mut world, 2, 1), ("STALE_BROKER_EPOCH", -1, 0));
    assert_eq!(allocate(&mut world, 9, 1), ("BROKER_ID_NOT_REGISTERED", -1, 0));
}

#[test]
fn features_stay_within_what_everybody_knows() {
    let mut world = World::with_brokers(1);
    let update = |world: &mut World, feature: &str, max_level: u32| {
        let request = r::UpdateFeaturesRequest {
            updates: vec![r::FeatureUpdate {
                name: feature.into(),
                max_level,
                upgrade_type: r::UpgradeType::Upgrade.into(),
            }],
            validate_only: false,
        };
        match world.request(Request::UpdateFeatures(request)) {
            Reply::UpdateFeatures(reply) => name(reply.error_code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(world.image.metadata_level(), 2, "written by the first controller");
    assert_eq!(update(&mut world, "klamm.metadata.level", 2), "NONE");
    assert_eq!(update(&mut world, "klamm.metadata.level", 3), "INVALID_UPDATE_VERSION");
    assert_eq!(update(&mut world, "klamm.metadata.level", 0), "INVALID_UPDATE_VERSION");
    assert_eq!(update(&mut world, "x", 1), "INVALID_UPDATE_VERSION");
}
