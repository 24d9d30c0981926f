//! ElectLeaders (43): leaders on request; handed to the controller.
//!
//! Preferred elections put the first replica in the lead. Unclean ones are what an operator chooses for partitions
//! without a leader: the live replica whose log is known to reach furthest. Nothing is decided here.

use std::time::Duration;

use klamm_broker::backend::RequestError;
use klamm_broker::metadata::Image;
use klamm_broker::schema::id_bytes;
use klamm_broker::schema::requests::{self, OperatorElection, controller_reply, controller_request};
use klamm_types::{ErrorCode, TopicId};
use klamm_wire::elect_leaders_request::ElectLeadersRequest;
use klamm_wire::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{code_number, message, named_partition};

use super::controller;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Election {
    Preferred,
    Unclean,
}

/// A partition that was asked for, and what became of it; without a result it goes to the controller.
struct Asked {
    topic: usize,
    partition: i32,
    result: Option<(i16, String)>,
}

/// What was asked, topic by topic.
struct Elections {
    /// Every partition was asked for: those that need no election are left out of the answer.
    all: bool,
    topics: Vec<(String, Option<TopicId>)>,
    partitions: Vec<Asked>,
}

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: ElectLeadersRequest<'_> = request.decode(&body)?;
    let mut elections = read(&client.image(), &asked);
    match elect(client, &asked, &mut elections).await {
        Ok(()) => write(request, ErrorCode::None.code(), &elections),
        Err(error) => {
            for one in &mut elections.partitions {
                one.result = Some((error.code.code(), error.message.clone()));
            }
            write(request, error.code.code(), &elections)
        }
    }
}

async fn elect(
    client: &Client,
    asked: &ElectLeadersRequest<'_>,
    elections: &mut Elections,
) -> Result<(), RequestError> {
    let kind = kind(asked.election_type)?;
    let timeout = controller::timeout(asked.timeout_ms)?;
    let open: Vec<(TopicId, i32)> = elections
        .partitions
        .iter()
        .filter(|one| one.result.is_none())
        .filter_map(|one| Some((elections.topics[one.topic].1?, one.partition)))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let mut results = submit(client, kind, &open, timeout).await?.into_iter();
    for one in elections.partitions.iter_mut().filter(|one| one.result.is_none()) {
        let Some(result) = results.next() else {
            return Err(controller::wrong_reply());
        };
        one.result = Some((code_number(result.error_code), result.error_message));
    }
    Ok(())
}

fn kind(number: i8) -> Result<Election, RequestError> {
    match number {
        0 => Ok(Election::Preferred),
        1 => Ok(Election::Unclean),
        _ => Err(RequestError {
            code: ErrorCode::InvalidRequest,
            message: format!("there is no election of type {number}"),
        }),
    }
}

/// The results in the order of the partitions.
async fn submit(
    client: &Client,
    kind: Election,
    partitions: &[(TopicId, i32)],
    timeout: Duration,
) -> Result<Vec<requests::PartitionResult>, RequestError> {
    let topic_id = |topic: &TopicId| id_bytes(topic.as_bytes());
    let request = match kind {
        Election::Preferred => controller_request::Request::ElectLeaders(requests::ElectLeadersRequest {
            all: false,
            partitions: partitions
                .iter()
                .map(|(topic, partition)| requests::TopicPartition {
                    topic_id: topic_id(topic),
                    partition: *partition,
                })
                .collect(),
        }),
        Election::Unclean => controller_request::Request::OperatorElect(requests::OperatorElectRequest {
            elections: partitions
                .iter()
                .map(|(topic, partition)| OperatorElection {
                    topic_id: topic_id(topic),
                    partition: *partition,
                    leader: -1,
                })
                .collect(),
        }),
    };
    match controller::submit(client, request, timeout).await? {
        controller_reply::Reply::ElectLeaders(reply) => Ok(reply.partitions),
        controller_reply::Reply::OperatorElect(reply) => Ok(reply.partitions),
        _ => Err(controller::wrong_reply()),
    }
}

/// No topics means every partition of every topic.
fn read(image: &Image, asked: &ElectLeadersRequest<'_>) -> Elections {
    let Some(named) = &asked.topic_partitions else {
        let topics = image.topics().values();
        let partitions = topics.clone().enumerate().flat_map(|(at, topic)| {
            (0..).zip(&topic.partitions).map(move |(partition, _)| Asked {
                topic: at,
                partition,
                result: None,
            })
        });
        return Elections {
            all: true,
            partitions: partitions.collect(),
            topics: topics.map(|topic| (topic.name.to_string(), Some(topic.id))).collect(),
        };
    };
    let partitions = named.iter().enumerate().flat_map(|(at, topic)| {
        topic.partitions.iter().map(move |&partition| {
            let refused = named_partition(image, topic.topic, partition).err();
            Asked {
                topic: at,
                partition,
                result: refused.map(|code| (code.code(), code.sentence().to_owned())),
            }
        })
    });
    let id = |name| image.topic_by_name(name).map(|topic| topic.id);
    Elections {
        all: false,
        partitions: partitions.collect(),
        topics: named
            .iter()
            .map(|topic| (topic.topic.to_owned(), id(topic.topic)))
            .collect(),
    }
}

fn write(request: &Request, code: i16, elections: &Elections) -> Answer {
    let mut results: Vec<ReplicaElectionResult<'_>> = elections
        .topics
        .iter()
        .map(|(name, _)| ReplicaElectionResult {
            topic: name,
            partition_result: Vec::new(),
        })
        .collect();
    for one in &elections.partitions {
        let (code, text) = one
            .result
            .as_ref()
            .map_or((0, ""), |(code, text)| (*code, text.as_str()));
        if elections.all && code == ErrorCode::ElectionNotNeeded.code() {
            continue;
        }
        results[one.topic].partition_result.push(PartitionResult {
            partition_id: one.partition,
            error_code: code,
            error_message: if code == 0 { None } else { message(text) },
        });
    }
    request.answer(&ElectLeadersResponse {
        // The first version has nowhere to put it; its partitions say the same.
        error_code: if request.version == 0 { 0 } else { code },
        replica_election_results: results,
        ..Default::default()
    })
}
