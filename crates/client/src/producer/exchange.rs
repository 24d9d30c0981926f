//! Orders to Produce requests, answers to what the core understands.

use std::sync::Arc;
use std::time::Duration;

use klamm_types::{LeaderEpoch, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use klamm_wire::produce_request::{PartitionProduceData, TopicProduceData};
use klamm_wire::produce_response::{NodeEndpoint, PartitionProduceResponse};
use klamm_wire::{ApiKey, InitProducerIdRequest, ProduceRequest};

use super::core::{Event, Identity, Order, Part, PartitionAnswer};
use super::error::ProduceError;
use crate::client::{Client, check};
use crate::error::{RequestError, code_from_wire};
use crate::metadata::{Broker, LeaderHint};
use crate::net::connection::Expect;
use crate::net::{Connection, PendingReply, Reply};

/// From this version on topics are named by their ids.
const TOPIC_IDS_FROM: i16 = 13;

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExchangeConfig {
    pub acks: i16,
    pub request_timeout: Duration,
}

/// What came of an order: the event for the core, and what the broker said about leaders.
pub(super) struct Exchanged {
    pub event: Event,
    pub hints: Vec<LeaderHint>,
}

impl Exchanged {
    fn plain(event: Event) -> Exchanged {
        Exchanged {
            event,
            hints: Vec::new(),
        }
    }
}

/// Puts the request into the connection's queue, so that the order of calls is the order on the wire.
pub(super) fn submit(
    connection: &Connection,
    order: &Order,
    config: ExchangeConfig,
) -> Result<PendingReply, RequestError> {
    let named = order.parts.iter().any(|part| part.topic_id == TopicId::ZERO);
    let version = connection.version::<ProduceRequest<'_>>(if named { TOPIC_IDS_FROM - 1 } else { i16::MAX })?;
    // The broker gives up a little earlier than we do, so that its word reaches us.
    let broker_wait = config.request_timeout.mul_f64(0.8).as_millis();
    let request = ProduceRequest {
        transactional_id: None,
        acks: config.acks,
        timeout_ms: i32::try_from(broker_wait).unwrap_or(i32::MAX),
        topic_data: topics(&order.parts, version),
    };
    let expect = if config.acks == 0 {
        Expect::Nothing
    } else {
        Expect::Answer
    };
    connection.submit_now(&request, version, expect)
}

/// The batches by topic; those of one topic need not be neighbours.
fn topics<'a>(parts: &'a [Part], version: i16) -> Vec<TopicProduceData<'a>> {
    let mut topics: Vec<TopicProduceData<'a>> = Vec::new();
    let mut names: Vec<&'a str> = Vec::new();
    for part in parts {
        let index = names.iter().position(|name| *name == &*part.topic).unwrap_or_else(|| {
            names.push(&part.topic);
            topics.push(TopicProduceData {
                name: if version < TOPIC_IDS_FROM { &part.topic } else { "" },
                topic_id: if version < TOPIC_IDS_FROM {
                    TopicId::ZERO.0
                } else {
                    part.topic_id.0
                },
                ..Default::default()
            });
            names.len() - 1
        });
        topics[index].partition_data.push(PartitionProduceData {
            index: part.partition.0,
            records: Some(part.batch.clone()),
        });
    }
    topics
}

/// Waits for the answer to an order and reads it.
pub(super) async fn finish(pending: PendingReply, order: Order, config: ExchangeConfig) -> Exchanged {
    let id = order.id;
    match pending.wait_for(config.request_timeout).await {
        Ok(_) if config.acks == 0 => {
            let answers = order.parts.iter().map(unacknowledged).collect();
            Exchanged::plain(Event::Answered {
                id,
                answers,
                throttle: Duration::ZERO,
            })
        }
        Ok(reply) => read(&reply, &order).unwrap_or_else(|failure| failed(id, failure)),
        Err(failure) => failed(id, failure),
    }
}

/// What the core should make of a request that got no answer.
pub(super) fn failed(id: u64, failure: RequestError) -> Exchanged {
    if failure.is_retriable() || failure.may_have_had_effect() {
        tracing::debug!(error = %failure, "produce request failed");
        return Exchanged::plain(Event::Lost {
            id,
            sent: failure.may_have_had_effect(),
        });
    }
    Exchanged::plain(Event::Impossible {
        id,
        error: ProduceError::Request(Arc::new(failure)),
    })
}

fn unacknowledged(part: &Part) -> PartitionAnswer {
    PartitionAnswer {
        topic: Arc::clone(&part.topic),
        partition: part.partition,
        code: klamm_types::ErrorCode::None,
        base_offset: Offset::NONE,
        append_time: Timestamp::NONE,
        message: None,
    }
}

fn read(reply: &Reply, order: &Order) -> Result<Exchanged, RequestError> {
    let response = reply
        .decode::<ProduceRequest<'_>>()
        .map_err(|cause| RequestError::Decode {
            api: ApiKey::Produce,
            cause,
        })?;
    let (mut answers, mut hints) = (Vec::new(), Vec::new());
    for topic in &response.responses {
        let named = |part: &&Part| match reply.version < TOPIC_IDS_FROM {
            true => *part.topic == *topic.name,
            false => part.topic_id.0 == topic.topic_id,
        };
        let Some(part) = order.parts.iter().find(named) else {
            continue;
        };
        for partition in &topic.partition_responses {
            hints.extend(hint(&part.topic, partition, &response.node_endpoints));
            answers.push(answer(&part.topic, partition));
        }
    }
    let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0));
    Ok(Exchanged {
        event: Event::Answered {
            id: order.id,
            answers,
            throttle,
        },
        hints,
    })
}

fn answer(topic: &Arc<str>, partition: &PartitionProduceResponse<'_>) -> PartitionAnswer {
    let record_messages = partition
        .record_errors
        .iter()
        .filter_map(|error| error.batch_index_error_message);
    let message = partition.error_message.into_iter().chain(record_messages).next();
    PartitionAnswer {
        topic: Arc::clone(topic),
        partition: PartitionId(partition.index),
        code: code_from_wire(partition.error_code),
        base_offset: Offset(partition.base_offset),
        append_time: Timestamp(partition.log_append_time_ms),
        message: message.map(str::to_owned),
    }
}

fn hint(topic: &Arc<str>, partition: &PartitionProduceResponse<'_>, nodes: &[NodeEndpoint<'_>]) -> Option<LeaderHint> {
    let leader = &partition.current_leader;
    if leader.leader_id < 0 {
        return None;
    }
    let node = nodes.iter().find(|node| node.node_id == leader.leader_id);
    Some(LeaderHint {
        topic: Arc::clone(topic),
        partition: PartitionId(partition.index),
        leader: NodeId(leader.leader_id),
        leader_epoch: LeaderEpoch(leader.leader_epoch),
        broker: node.and_then(|node| {
            Some(Broker {
                id: NodeId(node.node_id),
                host: node.host.to_owned(),
                port: u16::try_from(node.port).ok()?,
                rack: node.rack.map(str::to_owned),
            })
        }),
    })
}

/// Asks any broker for a producer id of our own.
pub(super) async fn ask_identity(client: Client, first: Option<NodeId>, timeout: Duration) -> Event {
    match try_identity(&client, first, timeout).await {
        Ok(identity) => Event::Identity(identity),
        Err(failure) => {
            tracing::debug!(error = &*failure, "no producer id yet");
            Event::IdentityFailed
        }
    }
}

async fn try_identity(
    client: &Client,
    first: Option<NodeId>,
    timeout: Duration,
) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let connection = client.any_connection(first).await?;
    let request = InitProducerIdRequest {
        transactional_id: None,
        // Without a transactional id it means nothing; Java sends this.
        transaction_timeout_ms: i32::MAX,
        ..Default::default()
    };
    let reply = connection.call(&request, timeout).await?;
    let answer = reply.decode::<InitProducerIdRequest<'_>>()?;
    check(answer.error_code)?;
    Ok(Identity {
        producer_id: ProducerId(answer.producer_id),
        producer_epoch: ProducerEpoch(answer.producer_epoch),
    })
}
