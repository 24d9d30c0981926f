//! OffsetCommit (8): stores the offsets up to which a group has consumed. Topics come by name, from version 10 on by id.

use klamm_broker::group::call::{CommitOffsets, CommitPartition, CommitTopic};
use klamm_broker::group::reply::CommittedTopic;
use klamm_broker::group::{Call, Reply};
use klamm_broker::metadata::Image;
use klamm_types::{ErrorCode, TopicId};
use klamm_wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestTopic};
use klamm_wire::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::TopicKey;

const IDS_FROM: i16 = 10;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: OffsetCommitRequest<'_> = request.decode(&body)?;
    let image = client.image();
    let mut answered = Vec::new();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        match resolve(&image, request.version, topic) {
            Ok((name, id)) => topics.push(commit_topic(topic, name, id)),
            Err(code) => answered.push(refused(topic, code)),
        }
    }
    if !topics.is_empty() {
        answered.extend(commit(client, request, &asked, topics).await);
    }
    let topics = answered.iter().map(|topic| OffsetCommitResponseTopic {
        name: &topic.name,
        topic_id: topic.id.0,
        partitions: topic
            .partitions
            .iter()
            .map(|&(partition_index, error)| OffsetCommitResponsePartition {
                partition_index,
                error_code: error.code(),
            })
            .collect(),
    });
    request.answer(&OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    })
}

/// Name and id. A name that nobody has goes to the coordinator with the zero id, which answers it per partition.
fn resolve(image: &Image, version: i16, topic: &OffsetCommitRequestTopic<'_>) -> Result<(String, TopicId), ErrorCode> {
    let key = TopicKey::new(version, IDS_FROM, topic.name, topic.topic_id);
    match (key.find(image), key) {
        (Ok(found), _) => Ok((found.name.to_string(), found.id)),
        (Err(_), TopicKey::Name(name)) => Ok((name.to_owned(), TopicId::ZERO)),
        (Err(code), TopicKey::Id(_)) => Err(code),
    }
}

fn commit_topic(topic: &OffsetCommitRequestTopic<'_>, name: String, id: TopicId) -> CommitTopic {
    let partitions = topic.partitions.iter().map(|partition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: owned(partition.committed_metadata),
    });
    CommitTopic {
        name,
        id,
        partitions: partitions.collect(),
    }
}

fn refused(topic: &OffsetCommitRequestTopic<'_>, code: ErrorCode) -> CommittedTopic {
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| (partition.partition_index, code));
    CommittedTopic {
        name: topic.name.to_owned(),
        id: TopicId(topic.topic_id),
        partitions: partitions.collect(),
    }
}

async fn commit(
    client: &Client,
    request: &Request,
    asked: &OffsetCommitRequest<'_>,
    topics: Vec<CommitTopic>,
) -> Vec<CommittedTopic> {
    let failed = |topics: &[CommitTopic], code| -> Vec<CommittedTopic> {
        let topic = |topic: &CommitTopic| CommittedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|part| (part.partition, code)).collect(),
        };
        topics.iter().map(topic).collect()
    };
    let call = Call::CommitOffsets(Box::new(CommitOffsets {
        group: asked.group_id.to_owned(),
        generation: asked.generation_id_or_member_epoch,
        member: asked.member_id.to_owned(),
        instance: owned(asked.group_instance_id),
        retention_ms: asked.retention_time_ms,
        version: request.version,
        topics: topics.clone(),
    }));
    match coordinator::call(client, call).await {
        Ok(Reply::CommitOffsets(committed)) => committed,
        Ok(_) => failed(&topics, coordinator::wrong_reply()),
        Err(code) => failed(&topics, code),
    }
}
