//! DeleteTopics (20): by name, or from version 6 on by name or id; handed to the controller.

use std::collections::BTreeMap;

use klamm_broker::backend::RequestError;
use klamm_broker::schema::requests::{self, DeletableTopic, controller_reply, controller_request};
use klamm_broker::schema::{id_bytes, uuid};
use klamm_types::{ErrorCode, Uuid};
use klamm_wire::delete_topics_request::DeleteTopicsRequest;
use klamm_wire::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{code_number, message};

use super::controller;

const STRUCTS_FROM: i16 = 6;
/// "Deletion is disabled" has a code of its own from this version on.
const DELETION_DISABLED_FROM: i16 = 3;

/// A topic as the request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named<'a> {
    name: Option<&'a str>,
    id: Uuid,
}

impl Named<'_> {
    /// By name or by id, not both and not neither.
    fn is_clear(&self) -> bool {
        self.name.is_some() == self.id.is_zero()
    }
}

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DeleteTopicsRequest<'_> = request.decode(&body)?;
    let named: Vec<Named<'_>> = if request.version >= STRUCTS_FROM {
        asked
            .topics
            .iter()
            .map(|topic| Named {
                name: topic.name,
                id: topic.topic_id,
            })
            .collect()
    } else {
        asked
            .topic_names
            .iter()
            .map(|&name| Named {
                name: Some(name),
                id: Uuid::ZERO,
            })
            .collect()
    };
    let (clear, unclear): (Vec<_>, Vec<_>) = named.iter().copied().partition(Named::is_clear);
    let mut responses: Vec<_> = unclear
        .iter()
        .map(|topic| refused(topic, UNCLEAR, request.version))
        .collect();
    let (clear, twice) = repeated(&clear);
    responses.extend(twice.iter().map(|topic| refused(topic, TWICE, request.version)));
    let reply = if clear.is_empty() {
        Ok(requests::DeleteTopicsReply::default())
    } else {
        submit(client, asked.timeout_ms, &clear).await
    };
    match &reply {
        Ok(reply) => responses.extend(reply.topics.iter().map(|topic| deleted(topic, request.version))),
        Err(error) => responses.extend(clear.iter().map(|topic| failed(topic, error, request.version))),
    }
    request.answer(&DeleteTopicsResponse {
        responses,
        ..Default::default()
    })
}

async fn submit(
    client: &Client,
    timeout_ms: i32,
    topics: &[Named<'_>],
) -> Result<requests::DeleteTopicsReply, RequestError> {
    let timeout = controller::timeout(timeout_ms)?;
    let topics = topics.iter().map(|topic| DeletableTopic {
        name: topic.name.map(str::to_owned),
        topic_id: topic.name.is_none().then(|| id_bytes(&topic.id.0)),
    });
    let request = controller_request::Request::DeleteTopics(requests::DeleteTopicsRequest {
        topics: topics.collect(),
        again: false,
    });
    match controller::submit(client, request, timeout).await? {
        controller_reply::Reply::DeleteTopics(reply) => Ok(reply),
        _ => Err(controller::wrong_reply()),
    }
}

/// Those named once, and those named several times, each of them once. Whether they exist makes no difference.
fn repeated<'a>(named: &[Named<'a>]) -> (Vec<Named<'a>>, Vec<Named<'a>>) {
    let mut count = BTreeMap::new();
    for topic in named {
        count.entry((topic.name, topic.id.0)).or_insert((0_usize, *topic)).0 += 1;
    }
    let (once, several): (Vec<_>, Vec<_>) = count.into_values().partition(|(count, _)| *count == 1);
    let topics = |list: Vec<(usize, Named<'a>)>| list.into_iter().map(|(_, topic)| topic).collect();
    (topics(once), topics(several))
}

const UNCLEAR: &str = "a topic is named either by its name or by its id";
const TWICE: &str = "the topic is named twice in the request";

fn refused<'a>(topic: &Named<'a>, text: &'static str, version: i16) -> DeletableTopicResult<'a> {
    DeletableTopicResult {
        name: name_for(topic.name, version),
        topic_id: topic.id,
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(text),
    }
}

fn failed<'a>(topic: &Named<'a>, error: &'a RequestError, version: i16) -> DeletableTopicResult<'a> {
    DeletableTopicResult {
        name: name_for(topic.name, version),
        topic_id: topic.id,
        error_code: error.code.code(),
        error_message: message(&error.message),
    }
}

fn deleted(topic: &requests::DeletableTopicResult, version: i16) -> DeletableTopicResult<'_> {
    let disabled = i32::from(ErrorCode::TopicDeletionDisabled.code());
    let error_code = if topic.error_code == disabled && version < DELETION_DISABLED_FROM {
        ErrorCode::InvalidRequest.code()
    } else {
        code_number(topic.error_code)
    };
    DeletableTopicResult {
        name: name_for(topic.name.as_deref(), version),
        topic_id: uuid("topic_id", &topic.topic_id).unwrap_or(Uuid::ZERO),
        error_code,
        error_message: message(&topic.error_message),
    }
}

/// Only versions that know ids may leave the name out.
fn name_for(name: Option<&str>, version: i16) -> Option<&str> {
    if version >= STRUCTS_FROM {
        name
    } else {
        Some(name.unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_several_times_is_answered_once() {
        let named = |name, id| Named {
            name,
            id: Uuid::from_u128(id),
        };
        let asked = [
            named(Some("b"), 0),
            named(Some("a"), 0),
            named(None, 7),
            named(Some("b"), 0),
            named(None, 7),
            named(None, 8),
            named(Some("b"), 0),
        ];
        let (once, twice) = repeated(&asked);
        assert_eq!(once, [named(None, 8), named(Some("a"), 0)]);
        assert_eq!(twice, [named(None, 7), named(Some("b"), 0)]);
    }
}
