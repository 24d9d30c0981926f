//! Metadata and DescribeCluster: who is there, who leads, and at which address.

use std::time::Duration;

use klamm_broker::backend::RequestError;
use klamm_broker::schema::requests::{CreatableTopic, CreateTopicsReply, CreateTopicsRequest};
use klamm_broker::schema::requests::{controller_reply, controller_request};
use klamm_kafka::{ListenerSettings, Settings};
use klamm_types::{ErrorCode, Uuid};
use klamm_wire::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use klamm_wire::metadata_request::MetadataRequestTopic;
use klamm_wire::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use klamm_wire::{DescribeClusterRequest, MetadataRequest};

use crate::client::{Front, Reply, settings};
use crate::fake::Fake;
use crate::world::{LISTENER, Part, World};

const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAASNA";

fn named<'a>(names: &[&'a str]) -> MetadataRequest<'a> {
    let topic = |name: &&'a str| MetadataRequestTopic {
        topic_id: Uuid::ZERO,
        name: Some(name),
    };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn without_creation<'a>(names: &[&'a str]) -> MetadataRequest<'a> {
    MetadataRequest {
        allow_auto_topic_creation: false,
        ..named(names)
    }
}

fn all() -> MetadataRequest<'static> {
    MetadataRequest {
        topics: None,
        ..Default::default()
    }
}

fn by_id(ids: &[u128]) -> MetadataRequest<'static> {
    let topic = |&id: &u128| MetadataRequestTopic {
        topic_id: Uuid::from_u128(id),
        name: None,
    };
    MetadataRequest {
        topics: Some(ids.iter().map(topic).collect()),
        ..Default::default()
    }
}

/// (error, name) in the order of the answer.
fn topics(reply: &Reply) -> Vec<(i16, Option<String>)> {
    let response = reply.read::<MetadataRequest<'_>>();
    response
        .topics
        .iter()
        .map(|topic| (topic.error_code, topic.name.map(str::to_owned)))
        .collect()
}

fn some(code: i16, name: &str) -> (i16, Option<String>) {
    (code, Some(name.to_owned()))
}

async fn front() -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1, 2, 3])]);
    world.topic("__consumer_offsets", 2, &[Part::of(&[2])]);
    Front::start(Fake::new(world)).await
}

#[tokio::test]
async fn the_whole_answer() {
    let front = front().await;
    let broker = |node_id: i32, host, rack| MetadataResponseBroker {
        node_id,
        host,
        port: 9091 + node_id,
        rack,
    };
    for version in 8..=13 {
        let mut request = named(&["t"]);
        request.include_topic_authorized_operations = true;
        request.include_cluster_authorized_operations = version <= 10;
        let reply = front.call(&request, version).await;
        let expected = MetadataResponse {
            brokers: vec![
                broker(1, "h1", None),
                broker(2, "h2", None),
                broker(3, "h3", Some("r3")),
            ],
            cluster_id: Some(CLUSTER),
            controller_id: 1,
            topics: vec![MetadataResponseTopic {
                error_code: 0,
                name: Some("t"),
                topic_id: if version >= 10 { Uuid::from_u128(1) } else { Uuid::ZERO },
                is_internal: false,
                partitions: vec![MetadataResponsePartition {
                    error_code: 0,
                    partition_index: 0,
                    leader_id: 1,
                    leader_epoch: 5,
                    replica_nodes: vec![1, 2, 3],
                    isr_nodes: vec![1, 2, 3],
                    offline_replicas: vec![],
                }],
                topic_authorized_operations: 3576,
            }],
            cluster_authorized_operations: if version <= 10 { 8096 } else { i32::MIN },
            ..Default::default()
        };
        assert_eq!(reply.read::<MetadataRequest<'_>>(), expected, "version {version}");
    }
}

#[tokio::test]
async fn null_means_all_and_empty_means_none() {
    let front = front().await;
    let both = vec![some(0, "__consumer_offsets"), some(0, "t")];
    // Version 0 has no null: there an empty list means all.
    assert_eq!(topics(&front.call(&named(&[]), 0).await), both);
    for version in 1..=13 {
        assert_eq!(topics(&front.call(&all(), version).await), both, "version {version}");
        let reply = front.call(&named(&[]), version).await;
        assert_eq!(topics(&reply), [], "version {version}");
        assert_eq!(reply.read::<MetadataRequest<'_>>().brokers.len(), 3);
    }
    let reply = front.call(&all(), 1).await;
    let internal: Vec<_> = reply
        .read::<MetadataRequest<'_>>()
        .topics
        .iter()
        .map(|topic| topic.is_internal)
        .collect();
    assert_eq!(internal, [true, false]);
}

#[tokio::test]
async fn operations_are_not_listed_unless_asked_for() {
    let front = front().await;
    let reply = front.call(&named(&["t"]), 8).await;
    let response = reply.read::<MetadataRequest<'_>>();
    assert_eq!(
        (
            response.topics[0].topic_authorized_operations,
            response.cluster_authorized_operations
        ),
        (i32::MIN, i32::MIN)
    );
    // Asked for, they stand in error entries too: kafka-python 2.3 takes no "not asked".
    let mut asked = without_creation(&["nope"]);
    asked.include_topic_authorized_operations = true;
    let reply = front.call(&asked, 8).await;
    assert_eq!(
        reply.read::<MetadataRequest<'_>>().topics[0].topic_authorized_operations,
        3576
    );
}

#[tokio::test]
async fn unknown_and_bad_names() {
    let front = front().await;
    let long = "x".repeat(250);
    let names = ["nope", "", "..", "a b", long.as_str(), "t", "t"];
    let expected = [
        some(3, "nope"),
        some(17, ""),
        some(17, ".."),
        some(17, "a b"),
        some(17, &long),
        some(0, "t"),
    ];
    assert_eq!(topics(&front.call(&without_creation(&names), 9).await), expected);
    assert!(front.fake.with(|state| state.submitted.is_empty()));
}

#[tokio::test]
async fn topics_by_id() {
    let front = front().await;
    let reply = front.call(&by_id(&[1, 99, 1]), 12).await;
    let response = reply.read::<MetadataRequest<'_>>();
    let found: Vec<_> = response
        .topics
        .iter()
        .map(|topic| (topic.error_code, topic.name, topic.topic_id))
        .collect();
    assert_eq!(
        found,
        [(0, Some("t"), Uuid::from_u128(1)), (100, None, Uuid::from_u128(99))]
    );
    // Beside an id, names vanish; with both in one entry, the id counts.
    let mut mixed = by_id(&[1]);
    mixed.topics.as_mut().unwrap()[0].name = Some("other");
    mixed.topics.as_mut().unwrap().push(MetadataRequestTopic {
        topic_id: Uuid::ZERO,
        name: Some("t"),
    });
    assert_eq!(topics(&front.call(&mixed, 13).await), [some(0, "t")]);
}

#[tokio::test]
async fn ids_before_version_12_and_nothing_at_all_are_refused() {
    let front = front().await;
    let refused = |id: u128, code: i16, top: i16| {
        let topic = |name, topic_id| MetadataResponseTopic {
            error_code: code,
            name: Some(name),
            topic_id,
            ..Default::default()
        };
        MetadataResponse {
            controller_id: -1,
            cluster_id: None,
            topics: vec![topic("", Uuid::from_u128(id)), topic("t", Uuid::ZERO)],
            error_code: top,
            ..Default::default()
        }
    };
    for (version, id, code, top) in [(10, 1, 42, 0), (11, 0, 42, 0), (12, 0, -1, 0), (13, 0, -1, -1)] {
        let mut request = by_id(&[id]);
        request.topics.as_mut().unwrap().push(MetadataRequestTopic {
            topic_id: Uuid::ZERO,
            name: Some("t"),
        });
        let reply = front.call(&request, version).await;
        assert_eq!(
            reply.read::<MetadataRequest<'_>>(),
            refused(id, code, top),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn asking_for_a_topic_creates_it_once_and_says_unknown() {
    let front = front().await;
    front.fake.with(|state| state.submits_hang = true);
    let request = named(&["new", "t", "__transaction_state", "bad name", "newer"]);
    let expected = [
        some(3, "new"),
        some(0, "t"),
        some(3, "__transaction_state"),
        some(17, "bad name"),
        some(3, "newer"),
    ];
    // Version 0 to 3 have no flag and behave as if it were set.
    for version in [3, 4, 13] {
        assert_eq!(topics(&front.call(&request, version).await), expected);
    }
    let topic = |name: &str| CreatableTopic {
        name: name.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let creation = CreateTopicsRequest {
        topics: vec![topic("new"), topic("newer")],
        validate_only: false,
    };
    let submitted = front.fake.with(|state| std::mem::take(&mut state.submitted));
    assert_eq!(
        submitted,
        [(
            controller_request::Request::CreateTopics(creation),
            Duration::from_secs(10)
        )]
    );
}

#[tokio::test]
async fn a_creation_that_failed_is_tried_again() {
    let front = front().await;
    let failed = RequestError {
        code: ErrorCode::RequestTimedOut,
        message: String::new(),
    };
    front.fake.with(|state| state.replies.push_back(Err(failed)));
    front.fake.with(|state| {
        state
            .replies
            .push_back(Ok(controller_reply::Reply::CreateTopics(CreateTopicsReply::default())));
    });
    let mut client = front.client().await;
    while front.fake.with(|state| state.submitted.len()) < 2 {
        client.call(&named(&["new"]), 9).await;
    }
}

#[tokio::test]
async fn topics_are_not_created_where_that_is_off() {
    let front = front().await;
    front.call(&without_creation(&["new"]), 4).await;
    front.call(&all(), 9).await;
    front
        .fake
        .with(|state| state.world.set("", "auto.create.topics.enable", "false"));
    front.call(&named(&["new"]), 4).await;
    assert!(front.fake.with(|state| state.submitted.is_empty()));
}

#[tokio::test]
async fn partitions_without_a_reachable_leader() {
    let mut world = World::default();
    world.broker(1, false, LISTENER);
    world.broker(2, true, LISTENER);
    world.broker(3, false, "OTHER");
    let leaderless = Part {
        leader: -1,
        isr: vec![],
        elr: vec![2],
        ..Part::of(&[2, 1])
    };
    let lagging = Part {
        isr: vec![1],
        ..Part::of(&[1, 2])
    };
    world.topic("t", 1, &[leaderless, Part::of(&[3, 1]), lagging]);
    let front = Front::start(Fake::new(world)).await;
    let partition = |error_code, partition_index, leader_id, lists: [&[i32]; 3]| MetadataResponsePartition {
        error_code,
        partition_index,
        leader_id,
        leader_epoch: 5,
        replica_nodes: lists[0].to_vec(),
        isr_nodes: lists[1].to_vec(),
        offline_replicas: lists[2].to_vec(),
    };
    for (version, no_listener) in [(7, 72), (8, 72)] {
        let reply = front.call(&named(&["t"]), version).await;
        let response = reply.read::<MetadataRequest<'_>>();
        let expected = [
            partition(5, 0, -1, [&[2, 1], &[], &[2]]),
            partition(no_listener, 1, -1, [&[3, 1], &[3, 1], &[3]]),
            partition(0, 2, 1, [&[1, 2], &[1], &[2]]),
        ];
        assert_eq!(response.topics[0].partitions, expected);
        // Only live brokers with this listener, and a controller among them.
        let brokers: Vec<_> = response.brokers.iter().map(|broker| broker.node_id).collect();
        assert_eq!((brokers, response.controller_id), (vec![1], 1));
    }
    let codes = |reply: &Reply| {
        let response = reply.read::<MetadataRequest<'_>>();
        response.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.error_code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&front.call(&named(&["t"]), 5).await), [5, 5, 0]);
    // Version 0 reports dead replicas as an error and leaves them out.
    let reply = front.call(&named(&["t"]), 0).await;
    assert_eq!(codes(&reply), [5, 5, 9]);
    assert_eq!(
        reply.read::<MetadataRequest<'_>>().topics[0].partitions[2].replica_nodes,
        [1]
    );
}

#[tokio::test]
async fn the_controller_is_a_live_broker_even_if_it_is_another() {
    let mut world = World::default();
    world.broker(1, true, LISTENER);
    world.broker(2, false, LISTENER);
    let front = Front::start(Fake::new(world)).await;
    let reply = front.call(&all(), 9).await;
    assert_eq!(reply.read::<MetadataRequest<'_>>().controller_id, 2);
}

/// Nothing advertised: the address at which the connection arrived, for this broker and for those that know no
/// better themselves.
#[tokio::test]
async fn clients_are_told_the_address_they_came_by() {
    let listener = ListenerSettings {
        name: LISTENER.to_owned(),
        bind_host: "0.0.0.0".to_owned(),
        bind_port: 0,
        advertised_host: None,
        advertised_port: None,
    };
    let front = Front::start_with(
        front().await.fake,
        Settings {
            listeners: vec![listener],
            ..settings()
        },
    )
    .await;
    let port = front.address.port();
    let reached = Front {
        address: ([127, 0, 0, 1], port).into(),
        ..front
    };
    let reply = reached.call(&named(&[]), 9).await;
    let response = reply.read::<MetadataRequest<'_>>();
    let own = &response.brokers[0];
    assert_eq!(
        (own.host, own.port, response.brokers[1].host),
        ("127.0.0.1", i32::from(port), "h2")
    );
}

#[tokio::test]
async fn describe_cluster() {
    let mut world = World::three();
    world.broker(4, true, LISTENER);
    let front = Front::start(Fake::new(world)).await;
    let broker = |id: i32, host, rack, is_fenced| DescribeClusterBroker {
        broker_id: id,
        host,
        port: 9091 + id,
        rack,
        is_fenced,
    };
    for version in 0..=2 {
        let mut asked = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            ..Default::default()
        };
        asked.include_fenced_brokers = version >= 2;
        let mut expected = DescribeClusterResponse {
            cluster_id: CLUSTER,
            controller_id: 1,
            brokers: vec![
                broker(1, "h1", None, false),
                broker(2, "h2", None, false),
                broker(3, "h3", Some("r3"), false),
            ],
            cluster_authorized_operations: 8096,
            ..Default::default()
        };
        if version >= 2 {
            expected.brokers.push(broker(4, "h4", None, true));
        }
        let reply = front.call(&asked, version).await;
        assert_eq!(reply.read::<DescribeClusterRequest>(), expected, "version {version}");
    }
    for (endpoint_type, code) in [(2, 114), (3, 115)] {
        let reply = front
            .call(
                &DescribeClusterRequest {
                    endpoint_type,
                    ..Default::default()
                },
                1,
            )
            .await;
        let response = reply.read::<DescribeClusterRequest>();
        assert_eq!(
            (response.error_code, response.endpoint_type, response.cluster_id),
            (code, 1, "")
        );
    }
}
