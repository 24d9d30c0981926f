//! IncrementalAlterConfigs: errors, operations, one resource whole or not at all.

use klamm_schema::requests as r;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::ErrorCode;

use super::script::World;
use crate::image::Resource;

type Change<'a> = (&'a str, i32, Option<&'a str>);

fn alter(world: &mut World, resource: (i32, &str), changes: &[Change<'_>]) -> &'static str {
    let configs = changes.iter().map(|&(name, operation, value)| r::AlterableConfig {
        name: name.into(),
        operation,
        value: value.map(str::to_string),
    });
    let request = r::IncrementalAlterConfigsRequest {
        resources: vec![r::AlterConfigsResource {
            resource_type: resource.0,
            resource_name: resource.1.into(),
            configs: configs.collect(),
        }],
        validate_only: false,
    };
    match world.request(Request::IncrementalAlterConfigs(request)) {
        Reply::IncrementalAlterConfigs(reply) => {
            let code = reply.resources[0].error_code;
            ErrorCode::from_code(i16::try_from(code).unwrap()).unwrap().name()
        }
        other => panic!("{other:?}"),
    }
}

const SET: i32 = 0;
const DELETE: i32 = 1;
const APPEND: i32 = 2;
const SUBTRACT: i32 = 3;
const TOPIC: (i32, &str) = (2, "t");
const CLUSTER: (i32, &str) = (4, "");

const CASES: &[((i32, &str), &[Change<'static>], &str)] = &[
    (
        (2, "none"),
        &[("retention.ms", SET, Some("1"))],
        "UNKNOWN_TOPIC_OR_PARTITION",
    ),
    (
        (2, "a b"),
        &[("retention.ms", SET, Some("1"))],
        "INVALID_TOPIC_EXCEPTION",
    ),
    ((2, ""), &[("retention.ms", SET, Some("1"))], "INVALID_REQUEST"),
    ((8, "1"), &[("x", SET, Some("1"))], "INVALID_REQUEST"),
    ((4, "1"), &[("num.partitions", SET, Some("1"))], "INVALID_REQUEST"),
    (
        TOPIC,
        &[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))],
        "INVALID_REQUEST",
    ),
    (TOPIC, &[("retention.ms", SET, None)], "INVALID_REQUEST"),
    (TOPIC, &[("retention.ms", 9, Some("1"))], "UNKNOWN_SERVER_ERROR"),
    (TOPIC, &[("retention.ms", APPEND, Some("1"))], "INVALID_CONFIG"),
    (TOPIC, &[("retention.ms", SET, Some("-2"))], "INVALID_CONFIG"),
    (TOPIC, &[("no.such.key", SET, Some("1"))], "INVALID_CONFIG"),
    (TOPIC, &[("no.such.key", DELETE, None)], "NONE"),
    (TOPIC, &[("retention.ms", DELETE, None)], "NONE"),
    (TOPIC, &[("cleanup.policy", APPEND, Some("compact"))], "INVALID_CONFIG"),
    (TOPIC, &[("cleanup.policy", SUBTRACT, Some("delete"))], "NONE"),
    (
        (2, "__consumer_offsets"),
        &[("cleanup.policy", APPEND, Some("compact"))],
        "NONE",
    ),
    (TOPIC, &[("preallocate", SET, Some("true"))], "INVALID_CONFIG"),
    (TOPIC, &[("preallocate", SET, Some("False"))], "NONE"),
    (TOPIC, &[("flush.messages", SET, Some("5"))], "INVALID_CONFIG"),
    (TOPIC, &[("flush.messages", SET, Some("1"))], "NONE"),
    (
        TOPIC,
        &[("klamm.durability", SET, Some("replicated"))],
        "INVALID_CONFIG",
    ),
    (CLUSTER, &[("num.partitions", SET, Some("x"))], "INVALID_REQUEST"),
    (CLUSTER, &[("min.insync.replicas", SET, Some("abc"))], "INVALID_REQUEST"),
    (CLUSTER, &[("min.insync.replicas", SET, Some("0"))], "INVALID_REQUEST"),
    (CLUSTER, &[("log.retention.ms", SET, Some("x"))], "INVALID_REQUEST"),
    (
        CLUSTER,
        &[("unclean.leader.election.enable", SET, Some("maybe"))],
        "INVALID_REQUEST",
    ),
    (CLUSTER, &[("no.such.key", SET, Some("1"))], "INVALID_CONFIG"),
    (CLUSTER, &[("retention.ms", SET, Some("1"))], "INVALID_CONFIG"),
    (CLUSTER, &[("log.retention.ms", SET, Some("1"))], "NONE"),
    (
        CLUSTER,
        &[("log.cleanup.policy", SET, Some("compact"))],
        "INVALID_CONFIG",
    ),
];

#[test]
fn every_error_of_the_table() {
    let mut world = World::with_brokers(1);
    world.run("create t partitions=1 rf=1");
    world.run("create __consumer_offsets partitions=1 rf=1");
    for (resource, changes, expected) in CASES {
        assert_eq!(
            alter(&mut world, *resource, changes),
            *expected,
            "{resource:?} {changes:?}"
        );
    }
    let value = |topic: &str, name: &str| {
        let resource = Resource::Topic(topic.into());
        world.image.config(&resource, name).map(str::to_string)
    };
    assert_eq!(value("t", "cleanup.policy").as_deref(), Some(""));
    assert_eq!(value("t", "preallocate").as_deref(), Some("false"));
    assert_eq!(
        value("__consumer_offsets", "cleanup.policy").as_deref(),
        Some("delete,compact")
    );
}

#[test]
fn a_resource_changes_whole_or_not_at_all() {
    let mut world = World::with_brokers(1);
    world.run("create t partitions=1 rf=1");
    let changes: &[Change<'_>] = &[("retention.ms", 0, Some("7")), ("segment.bytes", 0, Some("1"))];
    assert_eq!(alter(&mut world, (2, "t"), changes), "INVALID_CONFIG");
    assert!(world.image.configs().is_empty());
    let changes: &[Change<'_>] = &[("retention.ms", 0, Some("7")), ("segment.bytes", 0, Some("2000000"))];
    assert_eq!(alter(&mut world, (2, "t"), changes), "NONE");
    let config = world.image.effective_config("t");
    assert_eq!((config.retention_ms, config.segment_bytes), (7, 2_000_000));
    let changes: &[Change<'_>] = &[("retention.ms", 1, None), ("segment.bytes", 1, None)];
    assert_eq!(alter(&mut world, (2, "t"), changes), "NONE");
    assert!(
        world.image.configs().is_empty(),
        "nothing is left of settings that are back at their defaults"
    );
}
