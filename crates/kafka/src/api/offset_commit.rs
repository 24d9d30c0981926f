//! OffsetCommit (8): stores the offsets up to which a group has consumed. Topics come by name, from version 10 on by id.
//!
//! What no topic has is refused here, whoever asks; all else is the coordinator's to decide.

use std::collections::BTreeMap;

use klamm_broker::group::call::{CommitOffsets, CommitPartition, CommitTopic};
use klamm_broker::group::reply::CommittedTopic;
use klamm_broker::group::{Call, Reply};
use klamm_broker::metadata::Image;
use klamm_types::{ErrorCode, PartitionId, TopicId};
use klamm_wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use klamm_wire::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::coordinator::{self, owned};
use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::TopicKey;

const IDS_FROM: i16 = 10;

/// What is answered, by name and id: a topic that is named twice is answered once.
#[derive(Default)]
struct Answered(BTreeMap<(String, TopicId), Vec<(i32, ErrorCode)>>);

impl Answered {
    fn of_topic(&mut self, name: &str, id: TopicId) -> &mut Vec<(i32, ErrorCode)> {
        self.0.entry((name.to_owned(), id)).or_default()
    }
}

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: OffsetCommitRequest<'_> = request.decode(&body)?;
    let image = client.image();
    let mut answered = Answered::default();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let topic = resolve(&image, request.version, topic, &mut answered);
        topics.extend(topic.filter(|topic| !topic.partitions.is_empty()));
    }
    if !topics.is_empty() {
        for topic in commit(client, request, &asked, topics).await {
            answered.of_topic(&topic.name, topic.id).extend(topic.partitions);
        }
    }
    let topics = answered
        .0
        .iter()
        .map(|((name, id), partitions)| OffsetCommitResponseTopic {
            name,
            topic_id: id.0,
            partitions: partitions
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

/// The partitions that exist; the others are answered.
fn resolve(
    image: &Image,
    version: i16,
    asked: &OffsetCommitRequestTopic<'_>,
    answered: &mut Answered,
) -> Option<CommitTopic> {
    let topic = match TopicKey::new(version, IDS_FROM, asked.name, asked.topic_id).find(image) {
        Ok(topic) => topic,
        Err(_) if asked.partitions.is_empty() => return None,
        Err(code) => {
            let partitions = asked
                .partitions
                .iter()
                .map(|partition| (partition.partition_index, code));
            answered
                .of_topic(asked.name, TopicId(asked.topic_id))
                .extend(partitions);
            return None;
        }
    };
    let (known, unknown): (Vec<_>, Vec<_>) = asked
        .partitions
        .iter()
        .partition(|partition| topic.partition(PartitionId(partition.partition_index)).is_some());
    if !unknown.is_empty() {
        let refused = unknown
            .iter()
            .map(|partition| (partition.partition_index, ErrorCode::UnknownTopicOrPartition));
        answered.of_topic(&topic.name, topic.id).extend(refused);
    }
    Some(CommitTopic {
        name: topic.name.to_string(),
        id: topic.id,
        partitions: known.into_iter().map(commit_partition).collect(),
    })
}

fn commit_partition(partition: &OffsetCommitRequestPartition<'_>) -> CommitPartition {
    CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: owned(partition.committed_metadata),
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
