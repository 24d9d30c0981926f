//! DeleteTopics, by name or by id. Brokers delete files when they see the record; that is not here.

use std::collections::{BTreeMap, BTreeSet};

use klamm_schema::metadata::RemoveTopic;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::requests::{DeletableTopic, DeletableTopicResult, DeleteTopicsReply, DeleteTopicsRequest};
use klamm_schema::{id_bytes, uuid};
use klamm_types::{ErrorCode, TopicId};

use super::overlay::{Overlay, Refusal, error_fields};
use crate::image::Image;

pub(super) fn delete_topics(overlay: &mut Overlay, request: &DeleteTopicsRequest) -> DeleteTopicsReply {
    let enabled = overlay.image().cluster_config().delete_topic_enable;
    let found: Vec<Result<TopicId, Refusal>> = request
        .topics
        .iter()
        .map(|asked| find(overlay.image(), asked))
        .collect();
    let mut count: BTreeMap<TopicId, usize> = BTreeMap::new();
    for id in found.iter().flatten() {
        *count.entry(*id).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(found.len());
    let mut answered = BTreeSet::new();
    for (asked, found) in request.topics.iter().zip(found) {
        // A topic named by its name and by its id is answered once.
        if found.as_ref().is_ok_and(|id| !answered.insert(*id)) {
            continue;
        }
        // The name is echoed for deletes by id too.
        let topic = found.as_ref().ok().and_then(|id| overlay.image().topic(*id)).cloned();
        let outcome = found.and_then(|id| {
            if count.get(&id) != Some(&1) {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "the topic is named twice in the request",
                ));
            }
            if !enabled {
                return Err(Refusal::new(ErrorCode::TopicDeletionDisabled, ""));
            }
            let topic_id = id_bytes(id.as_bytes());
            overlay.write(Record::RemoveTopic(RemoveTopic { topic_id }));
            Ok(())
        });
        let gone = |refusal: &Refusal| {
            let unknown = [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId];
            request.again && unknown.contains(&refusal.code)
        };
        let outcome = outcome.or_else(|refusal| if gone(&refusal) { Ok(()) } else { Err(refusal) });
        let (error_code, error_message) = error_fields(&outcome);
        topics.push(DeletableTopicResult {
            name: topic
                .as_ref()
                .map(|topic| topic.name.to_string())
                .or_else(|| asked.name.clone()),
            topic_id: match &topic {
                Some(topic) => id_bytes(topic.id.as_bytes()),
                None => asked
                    .topic_id
                    .clone()
                    .unwrap_or_else(|| id_bytes(TopicId::ZERO.as_bytes())),
            },
            error_code,
            error_message,
        });
    }
    DeleteTopicsReply { topics }
}

fn find(image: &Image, asked: &DeletableTopic) -> Result<TopicId, Refusal> {
    match (&asked.name, &asked.topic_id) {
        (Some(name), None) => image
            .topic_by_name(name)
            .map(|topic| topic.id)
            .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, "")),
        (None, Some(id)) => {
            let id = uuid("topic_id", id).map(TopicId);
            let id = id.map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
            image
                .topic(id)
                .map(|topic| topic.id)
                .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, ""))
        }
        (None, None) | (Some(_), Some(_)) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "a topic is named by its name or by its id",
        )),
    }
}
