//! ConsumerGroupHeartbeat (68): joins, keeps and leaves a group of the KIP-848 protocol.

use klamm_broker::group::call::{ConsumerHeartbeat, MemberIdChoice, PartitionsByTopic};
use klamm_broker::group::consumer::refuse_heartbeat;
use klamm_broker::group::reply::ConsumerHeartbeatReply;
use klamm_broker::group::{Call, Reply};
use klamm_types::{ErrorCode, TopicId};
use klamm_wire::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use klamm_wire::consumer_group_heartbeat_response::{Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions};

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};

const CLIENT_CHOOSES_FROM: i16 = 1;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: ConsumerGroupHeartbeatRequest<'_> = request.decode(&body)?;
    let call = heartbeat(client, request, &asked);
    let reply = match refuse_heartbeat(&call) {
        Some(refused) => refused,
        None => coordinated(client, call).await,
    };
    let assignment = reply.assignment.as_ref().map(|assignment| Assignment {
        topic_partitions: assignment
            .iter()
            .map(|(topic, partitions)| TopicPartitions {
                topic_id: topic.0,
                partitions: partitions.iter().copied().collect(),
            })
            .collect(),
    });
    request.answer(&ConsumerGroupHeartbeatResponse {
        error_code: reply.error.code(),
        error_message: reply.message.as_deref(),
        member_id: reply.member.as_deref(),
        member_epoch: reply.member_epoch,
        heartbeat_interval_ms: reply.heartbeat_interval_ms,
        assignment,
        ..Default::default()
    })
}

async fn coordinated(client: &Client, call: ConsumerHeartbeat) -> ConsumerHeartbeatReply {
    match coordinator::call(client, Call::ConsumerHeartbeat(Box::new(call))).await {
        Ok(Reply::ConsumerHeartbeat(reply)) => *reply,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    }
}

fn heartbeat(client: &Client, request: &Request, asked: &ConsumerGroupHeartbeatRequest<'_>) -> ConsumerHeartbeat {
    let names = asked.subscribed_topic_names.as_ref();
    ConsumerHeartbeat {
        group: asked.group_id.to_owned(),
        member: asked.member_id.to_owned(),
        member_id: if request.version >= CLIENT_CHOOSES_FROM {
            MemberIdChoice::Client
        } else {
            MemberIdChoice::Coordinator
        },
        member_epoch: asked.member_epoch,
        instance: owned(asked.instance_id),
        rack: owned(asked.rack_id),
        client: coordinator::caller(client, request),
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        subscribed_names: names.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        subscribed_regex: owned(asked.subscribed_topic_regex),
        server_assignor: owned(asked.server_assignor),
        owned: asked.topic_partitions.as_ref().map(|owned| {
            let mut partitions = PartitionsByTopic::new();
            for topic in owned {
                partitions
                    .entry(TopicId(topic.topic_id))
                    .or_default()
                    .extend(&topic.partitions);
            }
            partitions
        }),
    }
}

fn failed(error: ErrorCode) -> ConsumerHeartbeatReply {
    ConsumerHeartbeatReply {
        error,
        message: None,
        member: None,
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        assignment: None,
    }
}
