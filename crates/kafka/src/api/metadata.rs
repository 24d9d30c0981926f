//! Metadata (3): brokers, topics, partitions and their leaders, as the client's listener shows them.
//!
//! A leader stands here only when it takes writes: the broker's image does not show it before.

use std::collections::BTreeSet;

use klamm_broker::metadata::Image;
use klamm_broker::metadata::image::{PartitionState, Topic};
use klamm_types::{ErrorCode, TopicId, Uuid, validate_topic_name};
use klamm_wire::metadata_request::{MetadataRequest, MetadataRequestTopic};
use klamm_wire::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use crate::context::Client;
use crate::endpoints;
use crate::net::request::{Answer, Request};
use crate::topics::{self, CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS};

use super::partitions::{self, LeaderState, ids};

/// In version 0 "no names" means all topics; later null does, and an empty list means none.
const NULL_IS_ALL_FROM: i16 = 1;
const AUTO_CREATE_FLAG_FROM: i16 = 4;
const LISTENER_NOT_FOUND_FROM: i16 = 6;
const CLUSTER_OPERATIONS_VERSIONS: std::ops::RangeInclusive<i16> = 8..=10;
const OPERATIONS_FROM: i16 = 8;
/// Ids stand in requests from version 10 on, but were first understood in 12.
const IDS_IN_REQUEST_FROM: i16 = 10;
const BY_ID_FROM: i16 = 12;
const TOP_LEVEL_ERROR_FROM: i16 = 13;

pub(crate) fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: MetadataRequest<'_> = request.decode(&body)?;
    let version = request.version;
    if let Some(code) = refusal(&asked, version) {
        return request.answer(&refused(&asked, version, code));
    }
    let image = client.image();
    let view = View {
        client,
        image: &image,
        version,
        with_operations: asked.include_topic_authorized_operations,
    };
    let topics = match &asked.topics {
        None => view.all_topics(),
        Some(topics) if topics.is_empty() && version < NULL_IS_ALL_FROM => view.all_topics(),
        Some(topics) if topics.iter().any(|topic| !topic.topic_id.is_zero()) => view.by_id(topics),
        Some(topics) => {
            let may_create = version < AUTO_CREATE_FLAG_FROM || asked.allow_auto_topic_creation;
            view.by_name(topics, may_create)
        }
    };
    let live = endpoints::live(client, &image);
    let brokers = live.iter().map(|broker| MetadataResponseBroker {
        node_id: broker.node.0,
        host: &broker.host,
        port: broker.port,
        rack: broker.rack,
    });
    let cluster_id = client.backend().cluster_id().to_string();
    let with_cluster = asked.include_cluster_authorized_operations && CLUSTER_OPERATIONS_VERSIONS.contains(&version);
    request.answer(&MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(&cluster_id),
        controller_id: endpoints::controller(client, &live),
        topics,
        cluster_authorized_operations: if with_cluster {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
        ..Default::default()
    })
}

/// What is wrong with the request as a whole.
fn refusal(asked: &MetadataRequest<'_>, version: i16) -> Option<ErrorCode> {
    let topics = asked.topics.as_deref().unwrap_or_default();
    let named_by_id = |topic: &MetadataRequestTopic<'_>| !topic.topic_id.is_zero() || topic.name.is_none();
    if (IDS_IN_REQUEST_FROM..BY_ID_FROM).contains(&version) && topics.iter().any(named_by_id) {
        return Some(ErrorCode::InvalidRequest);
    }
    let nothing = |topic: &MetadataRequestTopic<'_>| topic.topic_id.is_zero() && topic.name.is_none();
    topics.iter().any(nothing).then_some(ErrorCode::UnknownServerError)
}

fn refused<'a>(asked: &MetadataRequest<'a>, version: i16, code: ErrorCode) -> MetadataResponse<'a> {
    let topics = asked.topics.as_deref().unwrap_or_default();
    let failed = |topic: &MetadataRequestTopic<'a>| MetadataResponseTopic {
        error_code: code.code(),
        name: Some(topic.name.unwrap_or("")),
        topic_id: topic.topic_id,
        ..Default::default()
    };
    MetadataResponse {
        topics: topics.iter().map(failed).collect(),
        error_code: if version >= TOP_LEVEL_ERROR_FROM {
            code.code()
        } else {
            0
        },
        ..Default::default()
    }
}

/// What one answer is made from.
struct View<'a> {
    client: &'a Client,
    image: &'a Image,
    version: i16,
    with_operations: bool,
}

impl<'a> View<'a> {
    fn all_topics(&self) -> Vec<MetadataResponseTopic<'a>> {
        let ids = self.image.topic_ids().values();
        ids.filter_map(|&id| self.image.topic(id))
            .map(|topic| self.topic(topic))
            .collect()
    }

    fn by_id(&self, asked: &[MetadataRequestTopic<'a>]) -> Vec<MetadataResponseTopic<'a>> {
        let mut seen = BTreeSet::new();
        let ids = asked
            .iter()
            .map(|topic| topic.topic_id)
            .filter(|id| !id.is_zero() && seen.insert(id.0));
        ids.map(|id| match self.image.topic(TopicId(id)) {
            Some(topic) => self.topic(topic),
            None => self.missing(ErrorCode::UnknownTopicId, None, id),
        })
        .collect()
    }

    fn by_name(&self, asked: &[MetadataRequestTopic<'a>], may_create: bool) -> Vec<MetadataResponseTopic<'a>> {
        let mut seen = BTreeSet::new();
        let (mut answers, mut unknown) = (Vec::with_capacity(asked.len()), Vec::new());
        for name in asked.iter().filter_map(|topic| topic.name) {
            if !seen.insert(name) {
                continue;
            }
            answers.push(match self.image.topic_by_name(name) {
                Some(topic) => self.topic(topic),
                None if validate_topic_name(name).is_err() => {
                    self.missing(ErrorCode::InvalidTopicException, Some(name), Uuid::ZERO)
                }
                None => {
                    unknown.push(name);
                    self.missing(ErrorCode::UnknownTopicOrPartition, Some(name), Uuid::ZERO)
                }
            });
        }
        // Internal topics are made by those who need them, with settings of their own.
        unknown.retain(|name| !topics::is_internal(name));
        if may_create && !unknown.is_empty() && self.image.cluster_config().auto_create_topics_enable {
            self.client.shared.auto_create.begin(self.client, &unknown);
        }
        answers
    }

    fn missing(&self, code: ErrorCode, name: Option<&'a str>, id: Uuid) -> MetadataResponseTopic<'a> {
        MetadataResponseTopic {
            error_code: code.code(),
            name,
            topic_id: id,
            topic_authorized_operations: self.operations(),
            ..Default::default()
        }
    }

    fn topic(&self, topic: &'a Topic) -> MetadataResponseTopic<'a> {
        let partitions = topic
            .partitions
            .iter()
            .zip(0..)
            .map(|(state, index)| self.partition(index, state));
        MetadataResponseTopic {
            error_code: 0,
            name: Some(&topic.name),
            topic_id: topic.id.0,
            is_internal: topics::is_internal(&topic.name),
            partitions: partitions.collect(),
            topic_authorized_operations: self.operations(),
        }
    }

    fn operations(&self) -> i32 {
        if self.with_operations && self.version >= OPERATIONS_FROM {
            TOPIC_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        }
    }

    fn partition(&self, index: i32, state: &PartitionState) -> MetadataResponsePartition {
        let leader = partitions::leader(self.client, self.image, state);
        let offline = partitions::offline(self.client, self.image, state);
        let code = match leader {
            LeaderState::WithoutListener if self.version >= LISTENER_NOT_FOUND_FROM => ErrorCode::ListenerNotFound,
            LeaderState::WithoutListener | LeaderState::None => ErrorCode::LeaderNotAvailable,
            LeaderState::Reachable(_) if self.version == 0 && !offline.is_empty() => ErrorCode::ReplicaNotAvailable,
            LeaderState::Reachable(_) => ErrorCode::None,
        };
        let (mut replicas, mut isr) = (ids(&state.replicas), ids(&state.isr));
        if self.version == 0 {
            replicas.retain(|id| !offline.contains(id));
            isr.retain(|id| !offline.contains(id));
        }
        MetadataResponsePartition {
            error_code: code.code(),
            partition_index: index,
            leader_id: leader.id(),
            leader_epoch: state.leader_epoch.0,
            replica_nodes: replicas,
            isr_nodes: isr,
            offline_replicas: offline,
        }
    }
}
