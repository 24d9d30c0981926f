//! CreatePartitions (37): more partitions for topics; handed to the controller.

use klamm_broker::backend::RequestError;
use klamm_broker::schema::requests::{
    self, CreatePartitionsTopic, ReplicaAssignment, controller_reply, controller_request,
};
use klamm_wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsRequest};
use klamm_wire::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{code_number, message};

use super::controller;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: CreatePartitionsRequest<'_> = request.decode(&body)?;
    match submit(client, &asked).await {
        Ok(reply) => {
            let results = reply.results.iter().map(|result| CreatePartitionsTopicResult {
                name: &result.name,
                error_code: code_number(result.error_code),
                error_message: message(&result.error_message),
            });
            let results = results.collect();
            request.answer(&CreatePartitionsResponse {
                results,
                ..Default::default()
            })
        }
        Err(error) => {
            let results = asked.topics.iter().map(|topic| CreatePartitionsTopicResult {
                name: topic.name,
                error_code: error.code.code(),
                error_message: message(&error.message),
            });
            let results = results.collect();
            request.answer(&CreatePartitionsResponse {
                results,
                ..Default::default()
            })
        }
    }
}

async fn submit(
    client: &Client,
    asked: &CreatePartitionsRequest<'_>,
) -> Result<requests::CreatePartitionsReply, RequestError> {
    let timeout = controller::timeout(asked.timeout_ms)?;
    let request = controller_request::Request::CreatePartitions(translated(client, asked));
    match controller::submit(client, request, timeout).await? {
        controller_reply::Reply::CreatePartitions(reply) => Ok(reply),
        _ => Err(controller::wrong_reply()),
    }
}

/// Kafka's assignments are those of the new partitions in order; the controller's name their partition. The numbers
/// follow from what this broker knows; the controller checks them.
fn translated(client: &Client, asked: &CreatePartitionsRequest<'_>) -> requests::CreatePartitionsRequest {
    let image = client.image();
    let topics = asked.topics.iter().map(|topic| {
        let exist = image
            .topic_by_name(topic.name)
            .map_or(0, |found| found.partitions.len());
        let first = i32::try_from(exist).unwrap_or(i32::MAX);
        // None is "you decide"; an empty list is a list that is too short, which the controller sees by one replica list
        // that no partition may have.
        let nowhere = [CreatePartitionsAssignment::default()];
        let assignments = match topic.assignments.as_deref() {
            None => &[],
            Some([]) => &nowhere[..],
            Some(lists) => lists,
        };
        let assignments = assignments.iter().zip(first..);
        CreatePartitionsTopic {
            name: topic.name.to_owned(),
            count: topic.count,
            assignments: assignments
                .map(|(assignment, partition)| ReplicaAssignment {
                    partition,
                    replicas: assignment.broker_ids.clone(),
                })
                .collect(),
        }
    });
    requests::CreatePartitionsRequest {
        topics: topics.collect(),
        validate_only: asked.validate_only,
        again: false,
    }
}
