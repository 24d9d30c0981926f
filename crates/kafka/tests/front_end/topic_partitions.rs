//! DescribeTopicPartitions: pages, cursors, and what stands in a partition.

use klamm_kafka::Settings;
use klamm_types::Uuid;
use klamm_wire::DescribeTopicPartitionsRequest;
use klamm_wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use klamm_wire::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use crate::client::{Front, settings};
use crate::fake::Fake;
use crate::world::{Part, World};

fn world() -> World {
    let mut world = World::three();
    world.topic("b", 2, &[Part::of(&[1]), Part::of(&[1]), Part::of(&[1])]);
    world.topic("a", 1, &[Part::of(&[1]), Part::of(&[2])]);
    world.topic("c", 3, &[Part::of(&[3])]);
    world
}

fn asked<'a>(names: &[&'a str], limit: i32, cursor: Option<(&'a str, i32)>) -> DescribeTopicPartitionsRequest<'a> {
    DescribeTopicPartitionsRequest {
        topics: names.iter().map(|&name| TopicRequest { name }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(topic_name, partition_index)| Cursor {
            topic_name,
            partition_index,
        }),
    }
}

/// What a page holds: per topic its error, name and partitions, and the cursor.
type Page = (Vec<(i16, String, Vec<i32>)>, Option<(String, i32)>);

async fn page(front: &Front, asked: &DescribeTopicPartitionsRequest<'_>) -> Page {
    let reply = front.call(asked, 0).await;
    let response = reply.read::<DescribeTopicPartitionsRequest<'_>>();
    let topics = response.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index)
            .collect();
        (topic.error_code, topic.name.unwrap().to_owned(), partitions)
    });
    let cursor = response
        .next_cursor
        .map(|cursor| (cursor.topic_name.to_owned(), cursor.partition_index));
    (topics.collect(), cursor)
}

fn topic(code: i16, name: &str, partitions: &[i32]) -> (i16, String, Vec<i32>) {
    (code, name.to_owned(), partitions.to_vec())
}

fn at(name: &str, partition: i32) -> Option<(String, i32)> {
    Some((name.to_owned(), partition))
}

#[tokio::test]
async fn pages_through_all_topics_by_name() {
    let front = Front::start(Fake::new(world())).await;
    let everything = vec![topic(0, "a", &[0, 1]), topic(0, "b", &[0, 1, 2]), topic(0, "c", &[0])];
    assert_eq!(page(&front, &asked(&[], 2000, None)).await, (everything, None));
    assert_eq!(
        page(&front, &asked(&[], 1, None)).await,
        (vec![topic(0, "a", &[0])], at("a", 1))
    );
    let (first, cursor) = page(&front, &asked(&[], 4, None)).await;
    assert_eq!(
        (first, cursor),
        (vec![topic(0, "a", &[0, 1]), topic(0, "b", &[0, 1])], at("b", 2))
    );
    let (second, cursor) = page(&front, &asked(&[], 1, Some(("b", 2)))).await;
    assert_eq!((second, cursor), (vec![topic(0, "b", &[2])], at("c", 0)));
    // A limit of nothing or less means one.
    assert_eq!(
        page(&front, &asked(&[], -5, Some(("c", 0)))).await,
        (vec![topic(0, "c", &[0])], None)
    );
    // A cursor at a topic that has gone goes on behind it, one past the end names the topic alone.
    assert_eq!(
        page(&front, &asked(&[], 9, Some(("bb", 7)))).await,
        (vec![topic(0, "c", &[0])], None)
    );
    assert_eq!(
        page(&front, &asked(&[], 9, Some(("c", 7)))).await,
        (vec![topic(0, "c", &[])], None)
    );
}

#[tokio::test]
async fn the_broker_has_a_limit_of_its_own() {
    let front = Front::start_with(
        Fake::new(world()),
        Settings {
            describe_partitions_max: 2,
            ..settings()
        },
    )
    .await;
    assert_eq!(
        page(&front, &asked(&[], 2000, None)).await,
        (vec![topic(0, "a", &[0, 1])], at("b", 0))
    );
}

#[tokio::test]
async fn named_topics_are_sorted_and_unknown_ones_told() {
    let front = Front::start(Fake::new(world())).await;
    let (topics, _) = page(&front, &asked(&["c", "nope", "a", "a", "b d"], 2000, None)).await;
    let expected = [
        topic(0, "a", &[0, 1]),
        topic(17, "b d", &[]),
        topic(0, "c", &[0]),
        topic(3, "nope", &[]),
    ];
    assert_eq!(topics, expected);
    let (topics, _) = page(&front, &asked(&["c", "a"], 2000, Some(("c", 0)))).await;
    assert_eq!(topics, [topic(0, "c", &[0])]);
    for (names, cursor, code) in [
        (vec!["a"], Some(("b", 0)), 42),
        (vec!["a"], Some(("a", -1)), 42),
        (vec!["a", ""], None, -1),
    ] {
        let (topics, next) = page(&front, &asked(&names, 2000, cursor)).await;
        let expected: Vec<_> = names.iter().map(|name| topic(code, name, &[])).collect();
        assert_eq!((topics, next), (expected, None));
    }
}

#[tokio::test]
async fn a_leaderless_partition_is_described_without_an_error() {
    let mut world = World::three();
    world.topic(
        "t",
        1,
        &[Part {
            leader: -1,
            isr: vec![],
            elr: vec![2],
            ..Part::of(&[2, 9])
        }],
    );
    let front = Front::start(Fake::new(world)).await;
    let reply = front.call(&asked(&["t", "nope"], 2000, None), 0).await;
    let response = reply.read::<DescribeTopicPartitionsRequest<'_>>();
    let unknown = DescribeTopicPartitionsResponseTopic {
        error_code: 3,
        name: Some("nope"),
        topic_authorized_operations: 3576,
        ..Default::default()
    };
    let described = DescribeTopicPartitionsResponseTopic {
        error_code: 0,
        name: Some("t"),
        topic_id: Uuid::from_u128(1),
        is_internal: false,
        partitions: vec![DescribeTopicPartitionsResponsePartition {
            error_code: 0,
            partition_index: 0,
            leader_id: -1,
            leader_epoch: 5,
            replica_nodes: vec![2, 9],
            isr_nodes: vec![],
            eligible_leader_replicas: Some(vec![2]),
            last_known_elr: Some(vec![]),
            offline_replicas: vec![9],
        }],
        topic_authorized_operations: 3576,
    };
    assert_eq!(response.topics, [unknown, described]);
}
