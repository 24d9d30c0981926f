//! DescribeQuorum, AddRaftVoter, RemoveRaftVoter, InitProducerId.

use std::time::Duration;

use klamm_broker::backend::{Endpoint, QuorumDescription, QuorumNode, QuorumReplica, VoterChange};
use klamm_types::{DirectoryId, ErrorCode, NodeId, Offset, ProducerId, Timestamp, Uuid};
use klamm_wire::add_raft_voter_request::Listener;
use klamm_wire::describe_quorum_request::{PartitionData, TopicData};
use klamm_wire::describe_quorum_response as answer;
use klamm_wire::{AddRaftVoterRequest, DescribeQuorumRequest, InitProducerIdRequest, RemoveRaftVoterRequest};

use crate::client::Front;
use crate::fake::Fake;
use crate::world::World;

async fn front() -> Front {
    Front::start(Fake::new(World::three())).await
}

fn asked<'a>(topics: &[(&'a str, &[i32])]) -> DescribeQuorumRequest<'a> {
    let topic = |&(topic_name, partitions): &(&'a str, &[i32])| TopicData {
        topic_name,
        partitions: partitions
            .iter()
            .map(|&partition_index| PartitionData { partition_index })
            .collect(),
    };
    DescribeQuorumRequest {
        topics: topics.iter().map(topic).collect(),
    }
}

fn quorum() -> QuorumDescription {
    let replica = |id, end| QuorumReplica {
        node: NodeId(id),
        directory: DirectoryId::from_u128(u128::from(id.unsigned_abs())),
        log_end_offset: Offset(end),
        last_fetch: Timestamp(10),
        last_caught_up: Timestamp(9),
    };
    let listener = Endpoint {
        name: "CONTROLLER".to_owned(),
        host: "h1".to_owned(),
        port: 9190,
    };
    QuorumDescription {
        leader: Some(NodeId(1)),
        leader_epoch: 7,
        high_watermark: Offset(100),
        voters: vec![replica(1, 101)],
        observers: vec![replica(2, 99)],
        nodes: vec![QuorumNode {
            node: NodeId(1),
            listeners: vec![listener],
        }],
    }
}

#[tokio::test]
async fn the_quorum_is_one_topic_with_one_partition() {
    let front = front().await;
    front.fake.with(|state| state.quorum = Some(quorum()));
    for version in 0..=2 {
        let reply = front.call(&asked(&[("__cluster_metadata", &[0])]), version).await;
        let replica = |id: i32, end| answer::ReplicaState {
            replica_id: id,
            replica_directory_id: if version >= 2 {
                Uuid::from_u128(u128::from(id.unsigned_abs()))
            } else {
                Uuid::ZERO
            },
            log_end_offset: end,
            last_fetch_timestamp: if version >= 1 { 10 } else { -1 },
            last_caught_up_timestamp: if version >= 1 { 9 } else { -1 },
        };
        // Read back as the default where the version has none.
        let text = Some("");
        let listener = answer::Listener {
            name: "CONTROLLER",
            host: "h1",
            port: 9190,
        };
        let expected = answer::DescribeQuorumResponse {
            error_code: 0,
            error_message: text,
            topics: vec![answer::TopicData {
                topic_name: "__cluster_metadata",
                partitions: vec![answer::PartitionData {
                    partition_index: 0,
                    error_code: 0,
                    error_message: text,
                    leader_id: 1,
                    leader_epoch: 7,
                    high_watermark: 100,
                    current_voters: vec![replica(1, 101)],
                    observers: vec![replica(2, 99)],
                }],
            }],
            nodes: if version >= 2 {
                vec![answer::Node {
                    node_id: 1,
                    listeners: vec![listener],
                }]
            } else {
                Vec::new()
            },
        };
        assert_eq!(reply.read::<DescribeQuorumRequest<'_>>(), expected, "version {version}");
    }
}

#[tokio::test]
async fn anything_else_is_unknown() {
    let front = front().await;
    front.fake.with(|state| state.quorum = Some(quorum()));
    for topics in [
        &[("t", &[0][..])][..],
        &[("__cluster_metadata", &[1][..])],
        &[("__cluster_metadata", &[0, 1][..])],
        &[("__cluster_metadata", &[0][..]), ("t", &[0][..])],
    ] {
        let reply = front.call(&asked(topics), 2).await;
        let response = reply.read::<DescribeQuorumRequest<'_>>();
        assert_eq!((response.error_code, response.topics.len()), (0, topics.len()));
        let partitions: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
        assert!(
            partitions.iter().all(|partition| partition.error_code == 3),
            "{topics:?}"
        );
    }
    let reply = front.call(&asked(&[]), 2).await;
    let response = reply.read::<DescribeQuorumRequest<'_>>();
    assert_eq!(
        (response.error_code, response.error_message, response.topics),
        (0, Some(""), vec![])
    );
}

#[tokio::test]
async fn a_quorum_without_a_leader_is_asked_again() {
    let reply = front().await.call(&asked(&[("__cluster_metadata", &[0])]), 2).await;
    assert_eq!(
        reply.read::<DescribeQuorumRequest<'_>>().error_code,
        ErrorCode::RequestTimedOut.code()
    );
}

#[tokio::test]
async fn voters_are_added_and_removed() {
    let front = front().await;
    let directory = DirectoryId::from_u128(5);
    let mut add = AddRaftVoterRequest {
        cluster_id: Some("AAAAAAAAAAAAAAAAAAASNA"),
        timeout_ms: 1500,
        voter_id: 4,
        voter_directory_id: directory.0,
        listeners: vec![Listener {
            name: "CONTROLLER",
            host: "h4",
            port: 9190,
        }],
        ..Default::default()
    };
    for version in [0, 1] {
        let reply = front.call(&add, version).await;
        let response = reply.read::<AddRaftVoterRequest<'_>>();
        assert_eq!((response.error_code, response.error_message), (0, None));
    }
    let mut remove = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: 4,
        voter_directory_id: directory.0,
    };
    let reply = front.call(&remove, 0).await;
    let response = reply.read::<RemoveRaftVoterRequest<'_>>();
    assert_eq!((response.error_code, response.error_message), (0, None));
    let added = VoterChange::Add {
        node: NodeId(4),
        directory,
        listeners: vec![Endpoint {
            name: "CONTROLLER".to_owned(),
            host: "h4".to_owned(),
            port: 9190,
        }],
        timeout: Duration::from_millis(1500),
    };
    let removed = VoterChange::Remove {
        node: NodeId(4),
        directory,
    };
    assert_eq!(
        front.fake.with(|state| state.voter_changes.clone()),
        [added.clone(), added, removed]
    );
    add.cluster_id = Some("another");
    remove.voter_id = -1;
    assert_eq!(
        front.call(&add, 1).await.read::<AddRaftVoterRequest<'_>>().error_code,
        104
    );
    assert_eq!(
        front
            .call(&remove, 0)
            .await
            .read::<RemoveRaftVoterRequest<'_>>()
            .error_code,
        42
    );
}

#[tokio::test]
async fn producer_ids() {
    let front = front().await;
    front
        .fake
        .with(|state| state.producer_ids.extend((0..6).map(|id| Ok(ProducerId(4000 + id)))));
    // The time-out means nothing without a transactional id; clients send the oddest.
    for (version, transaction_timeout_ms, id) in [(0, 0, 4000), (1, -1, 4001), (2, i32::MAX, 4002), (5, 1, 4003)] {
        let asked = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms,
            ..Default::default()
        };
        let reply = front.call(&asked, version).await;
        let response = reply.read::<InitProducerIdRequest<'_>>();
        assert_eq!(
            (response.error_code, response.producer_id, response.producer_epoch),
            (0, id, 0)
        );
    }
    let call = async |asked: InitProducerIdRequest<'static>| {
        let reply = front.call(&asked, 4).await;
        let response = reply.read::<InitProducerIdRequest<'_>>();
        (response.error_code, response.producer_id, response.producer_epoch)
    };
    // One that had an id gets a fresh one.
    assert_eq!(
        call(InitProducerIdRequest {
            transactional_id: None,
            producer_id: 4001,
            producer_epoch: 3,
            ..Default::default()
        })
        .await,
        (0, 4004, 0)
    );
    let named = |transactional_id| InitProducerIdRequest {
        transactional_id,
        ..Default::default()
    };
    assert_eq!(call(named(Some(""))).await, (42, -1, -1));
    assert_eq!(call(named(Some("tx"))).await, (35, -1, -1));
    assert_eq!(
        call(InitProducerIdRequest {
            transactional_id: None,
            producer_id: 1,
            ..Default::default()
        })
        .await,
        (42, -1, -1)
    );
    assert_eq!(
        call(InitProducerIdRequest {
            transactional_id: None,
            producer_epoch: 1,
            ..Default::default()
        })
        .await,
        (42, -1, -1)
    );
    assert_eq!(call(named(None)).await, (0, 4005, 0));
    // Without a block of ids: retriable.
    assert_eq!(call(named(None)).await, (14, -1, -1));
}
