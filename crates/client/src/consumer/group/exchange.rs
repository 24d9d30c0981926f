//! The core's calls to requests, answers to what the core understands. Repeating is the core's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, TopicId};
use klamm_wire::consumer_group_heartbeat_request::TopicPartitions;
use klamm_wire::join_group_request::JoinGroupRequestProtocol;
use klamm_wire::leave_group_request::MemberIdentity;
use klamm_wire::metadata_request::MetadataRequestTopic;
use klamm_wire::sync_group_request::SyncGroupRequestAssignment;
use klamm_wire::{
    ApiKey, ConsumerGroupHeartbeatRequest, DecodeError, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    MetadataRequest, SyncGroupRequest,
};

use super::core::{
    Answer, Call, ConsumerHeartbeatAnswer, ConsumerHeartbeatCall, Identity, JoinAnswer, JoinCall, JoinedMember,
    SyncCall, TopicFacts, TopicQuery,
};
use super::offset_requests::{commit, committed, find_coordinator};
use super::protocol::PROTOCOL_TYPE;
use crate::error::{RequestError, code_from_wire};
use crate::net::Connection;

/// From here on LeaveGroup names its members in a list.
const LEAVE_LIST_VERSION: i16 = 3;
/// From here on topics can be asked for by id.
const TOPIC_IDS_VERSION: i16 = 12;
/// The first version in which the member chooses its id, and the only one we speak.
const CONSUMER_HEARTBEAT_VERSION: i16 = 1;

/// What all requests of one member have in common.
#[derive(Clone, Debug)]
pub(super) struct ExchangeConfig {
    pub group_id: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// For what the coordinator answers at once.
    pub request_timeout: Duration,
    /// For heartbeats: a coordinator that is silent has to be noticed within the session.
    pub heartbeat_timeout: Duration,
    /// For what the coordinator answers when all members are there.
    pub join_timeout: Duration,
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn malformed(api: ApiKey) -> impl Fn(DecodeError) -> RequestError {
    move |cause| RequestError::Decode { api, cause }
}

/// One request and its answer.
pub(super) async fn perform(
    connection: &Connection,
    config: &ExchangeConfig,
    call: &Call,
) -> Result<Answer, RequestError> {
    let (group_id, timeout) = (config.group_id.as_str(), config.request_timeout);
    match call {
        Call::FindCoordinator => {
            let found = find_coordinator(connection, group_id, timeout).await?;
            Ok(Answer::Coordinator {
                code: found.code,
                node: found.node,
                message: found.message,
            })
        }
        Call::Topics(query) => topics(connection, query, timeout).await,
        Call::Join(call) => join(connection, config, call).await,
        Call::Sync(call) => sync(connection, config, call).await,
        Call::Heartbeat(identity) => heartbeat(connection, config, identity).await,
        Call::Leave { identity, reason } => leave(connection, config, identity, reason).await,
        Call::ConsumerHeartbeat(call) => consumer_heartbeat(connection, config, call).await,
        Call::Commit { identity, offsets } => {
            let parts = commit(connection, group_id, identity, offsets, timeout).await?;
            Ok(Answer::Committed(parts))
        }
        Call::Committed { identity, partitions } => {
            let found = committed(connection, group_id, identity, Some(partitions), timeout).await?;
            Ok(Answer::Offsets {
                code: found.code,
                parts: found.parts,
            })
        }
    }
}

async fn topics(connection: &Connection, query: &TopicQuery, timeout: Duration) -> Result<Answer, RequestError> {
    let version = connection.version::<MetadataRequest<'_>>(i16::MAX)?;
    let topics = match query {
        TopicQuery::All => None,
        TopicQuery::Names(names) => Some(names.iter().map(|name| named(name)).collect()),
        TopicQuery::Ids(_) if version < TOPIC_IDS_VERSION => {
            return Err(RequestError::Unsupported {
                address: connection.address().clone(),
                api: ApiKey::Metadata,
            });
        }
        TopicQuery::Ids(ids) => Some(ids.iter().map(|id| identified(*id)).collect()),
    };
    let request = MetadataRequest {
        // In version 0 an empty list means all topics, and there is no null.
        topics: if version == 0 {
            Some(topics.unwrap_or_default())
        } else {
            topics
        },
        // Versions below 4 always create; the flag cannot be said there.
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    };
    let reply = connection.call_in(&request, version, timeout).await?;
    let answer = reply
        .decode::<MetadataRequest<'_>>()
        .map_err(malformed(ApiKey::Metadata))?;
    let facts = answer.topics.iter().filter_map(|topic| {
        let exists = topic.error_code == 0;
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Some(TopicFacts {
            name: Arc::from(topic.name?),
            id: TopicId(topic.topic_id),
            internal: topic.is_internal,
            partitions: exists.then_some(count),
        })
    });
    Ok(Answer::Topics(facts.collect()))
}

fn named(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic {
        name: Some(name),
        ..Default::default()
    }
}

fn identified<'a>(id: TopicId) -> MetadataRequestTopic<'a> {
    MetadataRequestTopic {
        topic_id: id.0,
        name: None,
    }
}

async fn join(connection: &Connection, config: &ExchangeConfig, call: &JoinCall) -> Result<Answer, RequestError> {
    let protocols = call.protocols.iter().map(|(name, metadata)| JoinGroupRequestProtocol {
        name,
        metadata: metadata.clone(),
    });
    let request = JoinGroupRequest {
        group_id: &config.group_id,
        session_timeout_ms: millis(config.session_timeout),
        rebalance_timeout_ms: millis(config.rebalance_timeout),
        member_id: &call.identity.member_id,
        group_instance_id: call.identity.instance_id.as_deref(),
        protocol_type: PROTOCOL_TYPE,
        protocols: protocols.collect(),
        reason: Some(call.reason.as_str()).filter(|reason| !reason.is_empty()),
    };
    let reply = connection.call(&request, config.join_timeout).await?;
    let answer = reply
        .decode::<JoinGroupRequest<'_>>()
        .map_err(malformed(ApiKey::JoinGroup))?;
    let member = |member: &klamm_wire::join_group_response::JoinGroupResponseMember<'_>| JoinedMember {
        member_id: member.member_id.to_owned(),
        instance_id: member.group_instance_id.map(str::to_owned),
        metadata: member.metadata.clone(),
    };
    Ok(Answer::Joined(JoinAnswer {
        code: code_from_wire(answer.error_code),
        generation: answer.generation_id,
        protocol_type: answer.protocol_type.map(str::to_owned),
        protocol_name: answer.protocol_name.unwrap_or_default().to_owned(),
        leader: answer.leader.to_owned(),
        skip_assignment: answer.skip_assignment,
        member_id: answer.member_id.to_owned(),
        members: answer.members.iter().map(member).collect(),
    }))
}

async fn sync(connection: &Connection, config: &ExchangeConfig, call: &SyncCall) -> Result<Answer, RequestError> {
    let assignments = call
        .assignments
        .iter()
        .map(|(member_id, assignment)| SyncGroupRequestAssignment {
            member_id,
            assignment: assignment.clone(),
        });
    let request = SyncGroupRequest {
        group_id: &config.group_id,
        generation_id: call.identity.generation,
        member_id: &call.identity.member_id,
        group_instance_id: call.identity.instance_id.as_deref(),
        protocol_type: Some(PROTOCOL_TYPE),
        protocol_name: Some(call.protocol),
        assignments: assignments.collect(),
    };
    let reply = connection.call(&request, config.join_timeout).await?;
    let answer = reply
        .decode::<SyncGroupRequest<'_>>()
        .map_err(malformed(ApiKey::SyncGroup))?;
    let agrees = answer.protocol_name.is_none_or(|name| name == call.protocol);
    let code = match code_from_wire(answer.error_code) {
        ErrorCode::None if !agrees => ErrorCode::InconsistentGroupProtocol,
        code => code,
    };
    Ok(Answer::Synced {
        code,
        assignment: answer.assignment.clone(),
    })
}

async fn heartbeat(
    connection: &Connection,
    config: &ExchangeConfig,
    identity: &Identity,
) -> Result<Answer, RequestError> {
    let request = HeartbeatRequest {
        group_id: &config.group_id,
        generation_id: identity.generation,
        member_id: &identity.member_id,
        group_instance_id: identity.instance_id.as_deref(),
    };
    let reply = connection.call(&request, config.heartbeat_timeout).await?;
    let answer = reply
        .decode::<HeartbeatRequest<'_>>()
        .map_err(malformed(ApiKey::Heartbeat))?;
    Ok(Answer::Heartbeat(code_from_wire(answer.error_code)))
}

async fn leave(
    connection: &Connection,
    config: &ExchangeConfig,
    identity: &Identity,
    reason: &str,
) -> Result<Answer, RequestError> {
    let version = connection.version::<LeaveGroupRequest<'_>>(i16::MAX)?;
    let member = MemberIdentity {
        member_id: &identity.member_id,
        group_instance_id: identity.instance_id.as_deref(),
        reason: Some(reason),
    };
    let listed = version >= LEAVE_LIST_VERSION;
    let request = LeaveGroupRequest {
        group_id: &config.group_id,
        member_id: if listed { "" } else { &identity.member_id },
        members: if listed { vec![member] } else { Vec::new() },
    };
    let reply = connection.call_in(&request, version, config.heartbeat_timeout).await?;
    let answer = reply
        .decode::<LeaveGroupRequest<'_>>()
        .map_err(malformed(ApiKey::LeaveGroup))?;
    let code = answer
        .members
        .first()
        .map_or(answer.error_code, |member| member.error_code);
    Ok(Answer::Left(code_from_wire(code)))
}

async fn consumer_heartbeat(
    connection: &Connection,
    config: &ExchangeConfig,
    call: &ConsumerHeartbeatCall,
) -> Result<Answer, RequestError> {
    let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (id, partition) in call.owned.iter().flatten() {
        owned.entry(*id).or_default().push(*partition);
    }
    let owned = owned.into_iter().map(|(id, partitions)| TopicPartitions {
        topic_id: id.0,
        partitions,
    });
    let told = call.subscription.as_ref();
    let request = ConsumerGroupHeartbeatRequest {
        group_id: &config.group_id,
        member_id: &call.identity.member_id,
        member_epoch: call.identity.generation,
        instance_id: call.identity.instance_id.as_deref(),
        rack_id: call.rack.as_deref(),
        rebalance_timeout_ms: call.rebalance_timeout.map_or(-1, millis),
        subscribed_topic_names: told.map(|told| told.topics.iter().map(|topic| &**topic).collect()),
        subscribed_topic_regex: told.map(|told| told.regex.as_str()),
        server_assignor: call.assignor.as_deref(),
        topic_partitions: call.owned.as_ref().map(|_| owned.collect()),
    };
    let version = connection.version::<ConsumerGroupHeartbeatRequest<'_>>(i16::MAX)?;
    if version < CONSUMER_HEARTBEAT_VERSION {
        return Err(RequestError::Unsupported {
            address: connection.address().clone(),
            api: ApiKey::ConsumerGroupHeartbeat,
        });
    }
    let reply = connection.call_in(&request, version, config.heartbeat_timeout).await?;
    let answer = reply
        .decode::<ConsumerGroupHeartbeatRequest<'_>>()
        .map_err(malformed(ApiKey::ConsumerGroupHeartbeat))?;
    let mut assignment: BTreeMap<TopicId, BTreeSet<i32>> = BTreeMap::new();
    for topic in answer.assignment.iter().flat_map(|given| &given.topic_partitions) {
        assignment
            .entry(TopicId(topic.topic_id))
            .or_default()
            .extend(&topic.partitions);
    }
    Ok(Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer {
        code: code_from_wire(answer.error_code),
        message: answer.error_message.unwrap_or_default().to_owned(),
        epoch: answer.member_epoch,
        interval: Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0)),
        assignment: answer.assignment.as_ref().map(|_| assignment),
    }))
}
