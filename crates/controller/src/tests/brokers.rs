//! Brokers: sessions, fences, topics.

use std::time::Instant;

use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{CreatableTopic, CreateTopicsRequest, DeletableTopic, DeleteTopicsRequest};
use klamm_types::{ErrorCode, NodeId};

use super::harness::{Cluster, LIMIT, TestBroker};

/// Waits until the active controller's image says so.
pub fn wait_for_fence(cluster: &Cluster, broker: i32, fenced: bool) {
    let leader = cluster.wait_for_leader();
    let controller = cluster.controller(leader).clone();
    let mut applied = controller.watch_applied();
    cluster.on(leader, async move {
        while controller
            .image()
            .broker(NodeId(broker))
            .is_none_or(|broker| broker.fenced != fenced)
        {
            applied.changed().await.unwrap();
        }
    });
}

pub fn create_topic(cluster: &Cluster, name: &str, replicas: i32) -> i32 {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 3,
        replication_factor: replicas,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };
    let reply = cluster.submit(Request::CreateTopics(request));
    let Some(Reply::CreateTopics(reply)) = reply.reply else {
        panic!("no reply about topics: {reply:?}")
    };
    reply.topics[0].error_code
}

#[test]
fn a_killed_broker_is_fenced_and_its_partitions_get_leaders() {
    let cluster = Cluster::started(3);
    let brokers: Vec<TestBroker> = (11..=13).map(|id| TestBroker::start(&cluster, id)).collect();
    for broker in &brokers {
        wait_for_fence(&cluster, broker.id, false);
    }
    assert_eq!(create_topic(&cluster, "orders", 3), 0);
    let mut brokers = brokers;
    let victim = brokers.remove(0);
    let id = victim.id;
    let killed = Instant::now();
    victim.kill();
    wait_for_fence(&cluster, id, true);
    println!("a killed broker was fenced after {:?}", killed.elapsed());
    let image = cluster.controller(cluster.wait_for_leader()).image();
    assert!(
        image
            .partitions()
            .all(|(_, _, state)| state.leader.is_some_and(|leader| leader != NodeId(id)))
    );
}

#[test]
fn sessions_follow_the_active_controller() {
    let mut cluster = Cluster::started(3);
    let broker = TestBroker::start(&cluster, 11);
    wait_for_fence(&cluster, 11, false);
    let leader = cluster.wait_for_leader();
    let killed = Instant::now();
    cluster.kill(leader);
    assert_eq!(create_topic(&cluster, "after", 1), 0);
    println!(
        "a topic was created {:?} after the active controller was killed",
        killed.elapsed()
    );
    wait_for_fence(&cluster, 11, false);
    broker.kill();
    wait_for_fence(&cluster, 11, true);
}

/// What became of the first attempt is unknown: it may have deleted the topic.
#[test]
fn a_request_that_is_sent_again_says_so() {
    let mut cluster = Cluster::started(3);
    let client = cluster.client();
    let delete = |cluster: &Cluster| {
        let request = DeleteTopicsRequest {
            topics: vec![DeletableTopic {
                name: Some("gone".into()),
                topic_id: None,
            }],
            again: false,
        };
        let reply = cluster
            .runtime
            .block_on(client.submit(Request::DeleteTopics(request), LIMIT));
        match reply.unwrap().reply {
            Some(Reply::DeleteTopics(reply)) => ErrorCode::from_code(reply.topics[0].error_code as i16),
            other => panic!("no reply about topics: {other:?}"),
        }
    };
    assert_eq!(delete(&cluster), Some(ErrorCode::UnknownTopicOrPartition));
    let leader = cluster.wait_for_leader();
    cluster.kill(leader);
    assert_eq!(delete(&cluster), Some(ErrorCode::None));
    assert_eq!(delete(&cluster), Some(ErrorCode::UnknownTopicOrPartition));
}
