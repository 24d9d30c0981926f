//! CreatePartitions and IncrementalAlterConfigs: what reaches the controller, and what comes back.

use std::time::Duration;

use klamm_broker::schema::requests::{self, controller_reply as reply, controller_request as request};
use klamm_wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use klamm_wire::create_partitions_response::CreatePartitionsTopicResult;
use klamm_wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use klamm_wire::incremental_alter_configs_response::AlterConfigsResourceResponse;
use klamm_wire::{CreatePartitionsRequest, IncrementalAlterConfigsRequest};

use crate::admin::{front, not_controller};

fn partitions_asked() -> CreatePartitionsRequest<'static> {
    let assignments = [vec![1], vec![2]].map(|broker_ids| CreatePartitionsAssignment { broker_ids });
    let topic = |name, count, assignments| CreatePartitionsTopic {
        name,
        count,
        assignments,
    };
    let topics = vec![topic("t", 4, Some(assignments.to_vec())), topic("u", 9, None)];
    CreatePartitionsRequest {
        topics,
        timeout_ms: 77,
        validate_only: false,
    }
}

fn partitions_answered() -> requests::CreatePartitionsReply {
    let result = |name: &str, error_code, text: &str| requests::CreatePartitionsTopicResult {
        name: name.into(),
        error_code,
        error_message: text.into(),
    };
    requests::CreatePartitionsReply {
        results: vec![result("t", 0, ""), result("u", 3, "unknown")],
    }
}

#[tokio::test]
async fn partitions_are_added() {
    for version in 0..=3 {
        let front = front(vec![Ok(reply::Reply::CreatePartitions(partitions_answered()))]).await;
        let answer = front.call(&partitions_asked(), version).await;
        let result = |name, error_code, error_message| CreatePartitionsTopicResult {
            name,
            error_code,
            error_message,
        };
        let expected = [result("t", 0, None), result("u", 3, Some("unknown"))];
        assert_eq!(
            answer.read::<CreatePartitionsRequest<'_>>().results,
            expected,
            "version {version}"
        );
    }
}

#[tokio::test]
async fn assignments_are_those_of_the_new_partitions() {
    let front = front(vec![Ok(reply::Reply::CreatePartitions(partitions_answered()))]).await;
    front.call(&partitions_asked(), 3).await;
    // The topic has two partitions: the new ones are 2 and 3.
    let assignment = |partition, replicas| requests::ReplicaAssignment { partition, replicas };
    let topic = |name: &str, count, assignments| requests::CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments,
    };
    let topics = vec![
        topic("t", 4, vec![assignment(2, vec![1]), assignment(3, vec![2])]),
        topic("u", 9, vec![]),
    ];
    let expected = requests::CreatePartitionsRequest {
        topics,
        ..Default::default()
    };
    let submitted = front.fake.with(|state| state.submitted.pop()).unwrap();
    assert_eq!(
        submitted,
        (request::Request::CreatePartitions(expected), Duration::from_millis(77))
    );
}

fn settings_asked() -> IncrementalAlterConfigsRequest<'static> {
    let config = |name, config_operation, value| AlterableConfig {
        name,
        config_operation,
        value,
    };
    let resource = |resource_type, resource_name, configs| AlterConfigsResource {
        resource_type,
        resource_name,
        configs,
    };
    let of_topic = vec![config("retention.ms", 0, Some("5")), config("segment.ms", 1, None)];
    let resources = vec![
        resource(2, "t", of_topic),
        resource(4, "", vec![config("x", 0, Some("y"))]),
    ];
    IncrementalAlterConfigsRequest {
        resources,
        validate_only: true,
    }
}

fn settings_answered() -> requests::IncrementalAlterConfigsReply {
    let result = |kind, name: &str, error_code, text: &str| requests::AlterConfigsResourceResult {
        resource_type: kind,
        resource_name: name.into(),
        error_code,
        error_message: text.into(),
    };
    let resources = vec![result(2, "t", 0, ""), result(4, "", 40, "no such setting")];
    requests::IncrementalAlterConfigsReply { resources }
}

#[tokio::test]
async fn settings_are_altered() {
    for version in [0, 1] {
        let answered = Ok(reply::Reply::IncrementalAlterConfigs(settings_answered()));
        let front = front(vec![answered, Err(not_controller())]).await;
        let answer = front.call(&settings_asked(), version).await;
        let response = |resource_type, resource_name, error_code, error_message| AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type,
            resource_name,
        };
        let expected = [response(2, "t", 0, None), response(4, "", 40, Some("no such setting"))];
        assert_eq!(answer.read::<IncrementalAlterConfigsRequest<'_>>().responses, expected);
        let answer = front.call(&settings_asked(), version).await;
        let response = answer.read::<IncrementalAlterConfigsRequest<'_>>();
        assert!(response.responses.iter().all(|one| one.error_code == 7), "{response:?}");
    }
}

#[tokio::test]
async fn settings_go_to_the_controller_whole() {
    let front = front(vec![Ok(reply::Reply::IncrementalAlterConfigs(settings_answered()))]).await;
    front.call(&settings_asked(), 1).await;
    let config = |name: &str, operation, value: Option<&str>| requests::AlterableConfig {
        name: name.into(),
        operation,
        value: value.map(Into::into),
    };
    let resource = |resource_type, name: &str, configs| requests::AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs,
    };
    let of_topic = vec![config("retention.ms", 0, Some("5")), config("segment.ms", 1, None)];
    let resources = vec![
        resource(2, "t", of_topic),
        resource(4, "", vec![config("x", 0, Some("y"))]),
    ];
    let expected = requests::IncrementalAlterConfigsRequest {
        resources,
        validate_only: true,
    };
    let submitted = front.fake.with(|state| state.submitted.pop()).unwrap().0;
    assert_eq!(submitted, request::Request::IncrementalAlterConfigs(expected));
}
