//! DescribeLogDirs, ListConfigResources and ListPartitionReassignments: what tools ask before they show anything.

use klamm_broker::backend::{DataDirectory, StoredReplica};
use klamm_types::{PartitionId, TopicId, TopicPartition};
use klamm_wire::describe_log_dirs_request::DescribableLogDirTopic;
use klamm_wire::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use klamm_wire::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};
use klamm_wire::list_partition_reassignments_response::ListPartitionReassignmentsResponse;
use klamm_wire::{DescribeLogDirsRequest, ListConfigResourcesRequest, ListPartitionReassignmentsRequest};

use crate::admin::front;

/// Topic `t` has number 1; number 9 is a topic that has just been deleted.
fn stored() -> DataDirectory {
    let replica = |topic, partition, size_bytes| StoredReplica {
        partition: TopicPartition {
            topic: TopicId::from_u128(topic),
            partition: PartitionId(partition),
        },
        size_bytes,
    };
    DataDirectory {
        path: "/data/klamm".to_owned(),
        total_bytes: Some(1000),
        usable_bytes: Some(400),
        replicas: vec![replica(1, 0, 100), replica(1, 1, u64::MAX), replica(9, 0, 7)],
    }
}

fn asked(topic: &'static str, partitions: &[i32]) -> DescribeLogDirsRequest<'static> {
    DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic,
            partitions: partitions.to_vec(),
        }]),
    }
}

/// As versions from 4 on tell it.
fn directory(topics: Vec<DescribeLogDirsTopic<'static>>) -> Vec<DescribeLogDirsResult<'static>> {
    vec![DescribeLogDirsResult {
        error_code: 0,
        log_dir: "/data/klamm",
        topics,
        total_bytes: 1000,
        usable_bytes: 400,
        is_cordoned: false,
    }]
}

fn partition(partition_index: i32, partition_size: i64) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition {
        partition_index,
        partition_size,
        offset_lag: 0,
        is_future_key: false,
    }
}

#[tokio::test]
async fn the_data_directory_is_described_with_what_is_in_it() {
    let front = front(vec![]).await;
    front.fake.with(|state| state.data_directory = stored());
    for version in 1..=5 {
        let answer = front.call(&DescribeLogDirsRequest { topics: None }, version).await;
        let partitions = vec![partition(0, 100), partition(1, i64::MAX)];
        let mut expected = directory(vec![DescribeLogDirsTopic { name: "t", partitions }]);
        if version < 4 {
            (expected[0].total_bytes, expected[0].usable_bytes) = (-1, -1);
        }
        let answer = answer.read::<DescribeLogDirsRequest<'_>>();
        assert_eq!((answer.error_code, answer.results), (0, expected), "version {version}");
    }
}

#[tokio::test]
async fn a_directory_is_described_without_what_was_not_asked_for() {
    let front = front(vec![]).await;
    front.fake.with(|state| state.data_directory = stored());
    let one = vec![DescribeLogDirsTopic {
        name: "t",
        partitions: vec![partition(0, 100)],
    }];
    let cases = [
        (asked("t", &[0, 5]), directory(one)),
        (asked("t", &[]), directory(vec![])),
        (asked("unknown", &[0]), directory(vec![])),
    ];
    for (asked, expected) in cases {
        let answer = front.call(&asked, 4).await;
        assert_eq!(
            answer.read::<DescribeLogDirsRequest<'_>>().results,
            expected,
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn topics_and_live_brokers_have_settings() {
    let front = front(vec![]).await;
    let resource = |resource_type, resource_name| ConfigResource {
        resource_name,
        resource_type,
    };
    let topic = resource(2, "t");
    let brokers = [resource(4, "1"), resource(4, "2"), resource(4, "3")];
    let everything: Vec<_> = std::iter::once(topic.clone()).chain(brokers.clone()).collect();
    let cases = [
        (1, vec![], 0, everything),
        (1, vec![2], 0, vec![topic]),
        (1, vec![4], 0, brokers.to_vec()),
        (1, vec![8, 16, 32], 0, vec![]),
        (1, vec![2, 3], 35, vec![]),
        (0, vec![], 0, vec![]),
    ];
    for (version, resource_types, error_code, config_resources) in cases {
        let asked = ListConfigResourcesRequest { resource_types };
        let answer = front.call(&asked, version).await;
        let expected = ListConfigResourcesResponse {
            error_code,
            config_resources,
            ..Default::default()
        };
        assert_eq!(answer.read::<ListConfigResourcesRequest>(), expected, "{asked:?}");
    }
}

#[tokio::test]
async fn no_replica_is_being_moved() {
    let front = front(vec![]).await;
    let answer = front.call(&ListPartitionReassignmentsRequest::default(), 0).await;
    assert_eq!(
        answer.read::<ListPartitionReassignmentsRequest<'_>>(),
        ListPartitionReassignmentsResponse::default()
    );
}
