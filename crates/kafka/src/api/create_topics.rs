//! CreateTopics (19): handed to the controller, answered when this broker knows the topics and their leaders serve.

use klamm_broker::backend::RequestError;
use klamm_broker::schema::requests::{
    self, CreatableTopic, ReplicaAssignment, TopicSetting, controller_reply, controller_request,
};
use klamm_broker::schema::uuid;
use klamm_types::Uuid;
use klamm_wire::create_topics_request::CreateTopicsRequest;
use klamm_wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{code_number, message};

use super::controller;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: CreateTopicsRequest<'_> = request.decode(&body)?;
    match submit(client, &asked).await {
        Ok(reply) => {
            let topics = reply.topics.iter().map(created).collect();
            request.answer(&CreateTopicsResponse {
                topics,
                ..Default::default()
            })
        }
        Err(error) => {
            let topics = asked.topics.iter().map(|topic| failed(topic.name, &error)).collect();
            request.answer(&CreateTopicsResponse {
                topics,
                ..Default::default()
            })
        }
    }
}

async fn submit(client: &Client, asked: &CreateTopicsRequest<'_>) -> Result<requests::CreateTopicsReply, RequestError> {
    let timeout = controller::timeout(asked.timeout_ms)?;
    let request = controller_request::Request::CreateTopics(translated(asked));
    match controller::submit(client, request, timeout).await? {
        controller_reply::Reply::CreateTopics(reply) => Ok(reply),
        _ => Err(controller::wrong_reply()),
    }
}

fn translated(asked: &CreateTopicsRequest<'_>) -> requests::CreateTopicsRequest {
    let topics = asked.topics.iter().map(|topic| CreatableTopic {
        name: topic.name.to_owned(),
        num_partitions: topic.num_partitions,
        replication_factor: i32::from(topic.replication_factor),
        assignments: topic
            .assignments
            .iter()
            .map(|assignment| ReplicaAssignment {
                partition: assignment.partition_index,
                replicas: assignment.broker_ids.clone(),
            })
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| TopicSetting {
                name: config.name.to_owned(),
                value: config.value.map(str::to_owned),
            })
            .collect(),
        ..CreatableTopic::default()
    });
    requests::CreateTopicsRequest {
        topics: topics.collect(),
        validate_only: asked.validate_only,
    }
}

fn created(topic: &requests::CreatableTopicResult) -> CreatableTopicResult<'_> {
    let configs = topic.configs.iter().map(|config| CreatableTopicConfigs {
        name: &config.name,
        value: Some(&config.value),
        read_only: false,
        config_source: i8::try_from(config.source).unwrap_or(0),
        is_sensitive: false,
    });
    let succeeded = topic.error_code == 0;
    CreatableTopicResult {
        name: &topic.name,
        topic_id: uuid("topic_id", &topic.topic_id).unwrap_or(Uuid::ZERO),
        error_code: code_number(topic.error_code),
        error_message: if succeeded { None } else { message(&topic.error_message) },
        num_partitions: if succeeded { topic.num_partitions } else { -1 },
        replication_factor: if succeeded {
            i16::try_from(topic.replication_factor).unwrap_or(-1)
        } else {
            -1
        },
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn failed<'a>(name: &'a str, error: &'a RequestError) -> CreatableTopicResult<'a> {
    CreatableTopicResult {
        name,
        error_code: error.code.code(),
        error_message: message(&error.message),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
