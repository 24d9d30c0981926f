//! DescribeConfigs: values in effect, where they come from, and what they mean.

use klamm_wire::DescribeConfigsRequest;
use klamm_wire::describe_configs_request::DescribeConfigsResource;
use klamm_wire::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsSynonym};

use crate::client::{Front, Reply};
use crate::fake::Fake;
use crate::world::{Part, World};

async fn front() -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1])]);
    world.set("t", "max.message.bytes", "2000");
    world.set("", "min.insync.replicas", "1");
    world.set("", "message.max.bytes", "3000");
    Front::start(Fake::new(world)).await
}

fn asked<'a>(kind: i8, name: &'a str, keys: Option<&[&'a str]>) -> DescribeConfigsRequest<'a> {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name,
        configuration_keys: keys.map(<[&str]>::to_vec),
    };
    DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        ..Default::default()
    }
}

fn synonym<'a>(name: &'a str, value: &'a str, source: i8) -> DescribeConfigsSynonym<'a> {
    DescribeConfigsSynonym {
        name,
        value: Some(value),
        source,
    }
}

/// (name, value, source, read only)
fn values(reply: &Reply) -> Vec<(String, String, i8, bool)> {
    let response = reply.read::<DescribeConfigsRequest<'_>>();
    let entries = response.results[0].configs.iter();
    let own = |text: &str| text.to_owned();
    entries
        .map(|one| (own(one.name), own(one.value.unwrap()), one.config_source, one.read_only))
        .collect()
}

#[tokio::test]
async fn a_topic_shows_everything_in_effect() {
    let front = front().await;
    let reply = front.call(&asked(2, "t", None), 4).await;
    let response = reply.read::<DescribeConfigsRequest<'_>>();
    let result = &response.results[0];
    assert_eq!(
        (result.error_code, result.error_message, result.resource_name),
        (0, Some(""), "t")
    );
    let names: Vec<&str> = result.configs.iter().map(|entry| entry.name).collect();
    for expected in [
        "cleanup.policy",
        "compression.type",
        "klamm.durability",
        "retention.ms",
        "segment.bytes",
    ] {
        assert!(names.contains(&expected), "{expected}");
    }
    assert!(
        result
            .configs
            .iter()
            .all(|entry| !entry.read_only && !entry.is_sensitive && entry.documentation.is_none())
    );
}

#[tokio::test]
async fn sources_synonyms_types_and_documentation() {
    let front = front().await;
    let keys = [
        "max.message.bytes",
        "min.insync.replicas",
        "retention.ms",
        "no.such.key",
    ];
    for version in 1..=4 {
        let mut request = asked(2, "t", Some(&keys));
        request.include_documentation = version >= 3;
        let reply = front.call(&request, version).await;
        let response = reply.read::<DescribeConfigsRequest<'_>>();
        let number = |kind| if version >= 3 { kind } else { 0 };
        let doc = |index: usize| response.results[0].configs[index].documentation;
        let entry = |index, name, value, config_source, kind, synonyms| DescribeConfigsResourceResult {
            name,
            value: Some(value),
            read_only: false,
            config_source,
            is_sensitive: false,
            synonyms,
            config_type: number(kind),
            documentation: doc(index),
        };
        let of_message = vec![
            synonym("max.message.bytes", "2000", 1),
            synonym("message.max.bytes", "3000", 3),
            synonym("message.max.bytes", "1048588", 5),
        ];
        let of_isr = vec![
            synonym("min.insync.replicas", "1", 3),
            synonym("min.insync.replicas", "2", 5),
        ];
        let expected = [
            entry(0, "max.message.bytes", "2000", 1, 3, of_message),
            entry(1, "min.insync.replicas", "1", 3, 3, of_isr),
            // At its default without synonyms, as in Kafka.
            entry(2, "retention.ms", "604800000", 5, 5, vec![]),
        ];
        assert_eq!(response.results[0].configs, expected, "version {version}");
        assert_eq!(doc(0).is_some_and(|text| text.contains("largest batch")), version >= 3);
    }
    let mut plain = asked(2, "t", Some(&["max.message.bytes"]));
    plain.include_synonyms = false;
    let reply = front.call(&plain, 4).await;
    assert!(
        reply.read::<DescribeConfigsRequest<'_>>().results[0].configs[0]
            .synonyms
            .is_empty()
    );
    // No keys at all means all of them, too.
    let reply = front.call(&asked(2, "t", Some(&[])), 4).await;
    assert!(values(&reply).len() > 30);
}

#[tokio::test]
async fn the_clusters_defaults() {
    let front = front().await;
    let own = |text: &str| text.to_owned();
    let reply = front.call(&asked(4, "", None), 4).await;
    let expected = [
        (own("message.max.bytes"), own("3000"), 3, false),
        (own("min.insync.replicas"), own("1"), 3, false),
    ];
    assert_eq!(values(&reply), expected);
}

#[tokio::test]
async fn this_brokers_settings() {
    let front = front().await;
    let own = |text: &str| text.to_owned();
    let keys = ["node.id", "background.threads", "message.max.bytes", "num.partitions"];
    let reply = front.call(&asked(4, "1", Some(&keys)), 4).await;
    let expected = [
        (own("message.max.bytes"), own("3000"), 3, false),
        (own("num.partitions"), own("1"), 5, false),
        (own("node.id"), own("1"), 4, true),
        (own("background.threads"), own("0"), 5, true),
    ];
    assert_eq!(values(&reply), expected);
    let reply = front.call(&asked(4, "1", Some(&["node.id"])), 4).await;
    let response = reply.read::<DescribeConfigsRequest<'_>>();
    assert_eq!(
        response.results[0].configs[0].synonyms,
        [synonym("node.id", "1", 4), synonym("node.id", "0", 5)]
    );
}

#[tokio::test]
async fn what_cannot_be_described() {
    let front = front().await;
    for (kind, name, code, text) in [
        (2, "nope", 3, Some("")),
        (2, "", 17, None),
        (2, "a b", 17, None),
        (4, "2", 42, None),
        (4, "x", 42, None),
        (8, "1", 42, None),
        (16, "x", 42, None),
        (32, "g", 42, None),
        (0, "", 42, None),
    ] {
        let reply = front.call(&asked(kind, name, None), 4).await;
        let response = reply.read::<DescribeConfigsRequest<'_>>();
        let result = &response.results[0];
        assert_eq!(
            (result.error_code, result.resource_type, result.configs.len()),
            (code, kind, 0),
            "{kind} {name:?}"
        );
        match text {
            Some(text) => assert_eq!(result.error_message, Some(text)),
            None => assert!(result.error_message.is_some_and(|text| !text.is_empty())),
        }
    }
}
