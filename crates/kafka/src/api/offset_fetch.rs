//! OffsetFetch (9): reads the offsets that groups have stored: one group before version 8, several from then on; topics
//! by name, from version 10 on by id.

use futures_util::future::join_all;
use klamm_broker::group::call::{FetchOffsets, FetchTopic, Stability};
use klamm_broker::group::reply::{FetchedOffsets, FetchedPartition, FetchedTopic};
use klamm_broker::group::{Call, Reply};
use klamm_broker::metadata::Image;
use klamm_types::{ErrorCode, TopicId};
use klamm_wire::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use klamm_wire::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::coordinator::{self, CALLS_AT_A_TIME, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::TopicKey;

const GROUP_ERROR_FROM: i16 = 2;
const GROUPS_FROM: i16 = 8;
const IDS_FROM: i16 = 10;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: OffsetFetchRequest<'_> = request.decode(&body)?;
    let stability = if asked.require_stable {
        Stability::Required
    } else {
        Stability::Any
    };
    if request.version < GROUPS_FROM {
        return answer_one(client, request, &asked, stability).await;
    }
    let image = client.image();
    let mut fetched = Vec::with_capacity(asked.groups.len());
    for groups in asked.groups.chunks(CALLS_AT_A_TIME) {
        let calls = groups.iter();
        let calls = calls.map(|group| fetch_group(client, request.version, &image, group, stability));
        fetched.extend(join_all(calls).await);
    }
    let groups = asked.groups.iter().zip(&fetched);
    let groups = groups.map(|(group, fetched)| OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics: fetched.topics.iter().map(topic_by_id).collect(),
        error_code: fetched.error.code(),
    });
    request.answer(&OffsetFetchResponse {
        groups: groups.collect(),
        ..Default::default()
    })
}

async fn answer_one(
    client: &Client,
    request: &Request,
    asked: &OffsetFetchRequest<'_>,
    stability: Stability,
) -> Answer {
    let topic = |topic: &klamm_wire::offset_fetch_request::OffsetFetchRequestTopic<'_>| FetchTopic {
        name: topic.name.to_owned(),
        id: TopicId::ZERO,
        partitions: topic.partition_indexes.clone(),
    };
    let topics: Option<Vec<FetchTopic>> = asked.topics.as_ref().map(|topics| topics.iter().map(topic).collect());
    let call = FetchOffsets {
        group: asked.group_id.to_owned(),
        member: None,
        member_epoch: -1,
        topics: topics.clone(),
        stability,
    };
    let mut fetched = fetch(client, call).await;
    if fetched.error.is_error() && request.version < GROUP_ERROR_FROM {
        // Version 1 has no error of its own: every partition that was asked for carries it.
        let topics = topics.unwrap_or_default();
        fetched.topics = topics
            .iter()
            .map(|topic| without_offsets(topic, fetched.error))
            .collect();
    }
    let topics = fetched.topics.iter().map(|topic| OffsetFetchResponseTopic {
        name: &topic.name,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition,
                committed_offset: partition.offset,
                committed_leader_epoch: partition.leader_epoch,
                metadata: Some(&partition.metadata),
                error_code: partition.error.code(),
            })
            .collect(),
    });
    request.answer(&OffsetFetchResponse {
        topics: topics.collect(),
        error_code: fetched.error.code(),
        ..Default::default()
    })
}

async fn fetch_group(
    client: &Client,
    version: i16,
    image: &Image,
    asked: &OffsetFetchRequestGroup<'_>,
    stability: Stability,
) -> FetchedOffsets {
    let (mut topics, mut unknown) = (None, Vec::new());
    if let Some(named) = &asked.topics {
        let mut known = Vec::with_capacity(named.len());
        for topic in named {
            match resolve(image, version, topic) {
                Ok(topic) => known.push(topic),
                Err((topic, code)) => unknown.push(without_offsets(&topic, code)),
            }
        }
        topics = Some(known);
    }
    let call = FetchOffsets {
        group: asked.group_id.to_owned(),
        member: owned(asked.member_id),
        member_epoch: asked.member_epoch,
        topics,
        stability,
    };
    let mut fetched = fetch(client, call).await;
    if !fetched.error.is_error() {
        fetched.topics.extend(unknown);
    }
    if version >= IDS_FROM {
        name_ids(image, &mut fetched.topics);
    }
    fetched
}

/// A topic as the coordinator wants it; by an id that nobody has, with the code for it.
fn resolve(
    image: &Image,
    version: i16,
    topic: &OffsetFetchRequestTopics<'_>,
) -> Result<FetchTopic, (FetchTopic, ErrorCode)> {
    let key = TopicKey::new(version, IDS_FROM, topic.name, topic.topic_id);
    let asked = |name: String, id: TopicId| FetchTopic {
        name,
        id,
        partitions: topic.partition_indexes.clone(),
    };
    match (key.find(image), key) {
        (Ok(found), _) => Ok(asked(found.name.to_string(), found.id)),
        (Err(_), TopicKey::Name(name)) => Ok(asked(name.to_owned(), TopicId::ZERO)),
        (Err(code), TopicKey::Id(id)) => Err((asked(String::new(), TopicId(id)), code)),
    }
}

/// The coordinator answers by name where a group's whole store was asked for; a topic that has gone has no id to tell.
fn name_ids(image: &Image, topics: &mut Vec<FetchedTopic>) {
    topics.retain_mut(|topic| {
        if topic.id == TopicId::ZERO
            && let Some(found) = image.topic_by_name(&topic.name)
        {
            topic.id = found.id;
        }
        topic.id != TopicId::ZERO
    });
}

async fn fetch(client: &Client, call: FetchOffsets) -> FetchedOffsets {
    let failed = |error| FetchedOffsets {
        error,
        topics: Vec::new(),
    };
    match coordinator::call(client, Call::FetchOffsets(call)).await {
        Ok(Reply::FetchOffsets(fetched)) => fetched,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    }
}

fn without_offsets(topic: &FetchTopic, error: ErrorCode) -> FetchedTopic {
    let partitions = topic.partitions.iter().map(|&partition| FetchedPartition {
        partition,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
        error,
    });
    FetchedTopic {
        name: topic.name.clone(),
        id: topic.id,
        partitions: partitions.collect(),
    }
}

fn topic_by_id(topic: &FetchedTopic) -> OffsetFetchResponseTopics<'_> {
    let partitions = topic.partitions.iter().map(|partition| OffsetFetchResponsePartitions {
        partition_index: partition.partition,
        committed_offset: partition.offset,
        committed_leader_epoch: partition.leader_epoch,
        metadata: Some(&partition.metadata),
        error_code: partition.error.code(),
    });
    OffsetFetchResponseTopics {
        name: &topic.name,
        topic_id: topic.id.0,
        partitions: partitions.collect(),
    }
}
