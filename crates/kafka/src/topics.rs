//! From what a request names (a name, an id, a partition number) to what the metadata knows.

use std::sync::Arc;

use klamm_broker::api::topic_partition;
use klamm_broker::metadata::Image;
use klamm_broker::metadata::config::is_internal_topic;
use klamm_broker::metadata::image::Topic;
use klamm_types::{ErrorCode, PartitionId, TopicId, TopicPartition, Uuid};

/// Bits of the operations that a client may carry out, without an authorizer: all that fit.
pub(crate) const TOPIC_OPERATIONS: i32 = 3576;
pub(crate) const GROUP_OPERATIONS: i32 = 3400;
pub(crate) const CLUSTER_OPERATIONS: i32 = 8096;
/// The operations when nobody asked for them.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// Whether a topic belongs to the cluster itself. Clients hide such topics and must not write to them.
pub(crate) fn is_internal(name: &str) -> bool {
    is_internal_topic(name)
}

/// How a request names a topic: by name in old versions, by id in new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicKey<'a> {
    Name(&'a str),
    Id(Uuid),
}

impl<'a> TopicKey<'a> {
    /// Requests that go by id have done so from a version on; the other field is then empty.
    pub fn new(version: i16, by_id_from: i16, name: &'a str, id: Uuid) -> Self {
        if version >= by_id_from {
            TopicKey::Id(id)
        } else {
            TopicKey::Name(name)
        }
    }

    pub fn find<'i>(&self, image: &'i Image) -> Result<&'i Arc<Topic>, ErrorCode> {
        match *self {
            TopicKey::Name(name) => image.topic_by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicKey::Id(id) => image.topic(TopicId(id)).ok_or(ErrorCode::UnknownTopicId),
        }
    }
}

/// One partition of a topic that was found.
pub(crate) fn partition(topic: &Topic, number: i32) -> Result<TopicPartition, ErrorCode> {
    match topic.partition(PartitionId(number)) {
        Some(_) => Ok(topic_partition(topic.id, number)),
        None => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

/// One partition by topic name, for the APIs that know no ids.
pub(crate) fn named_partition(image: &Image, topic: &str, number: i32) -> Result<TopicPartition, ErrorCode> {
    partition(TopicKey::Name(topic).find(image)?, number)
}

/// A code as a number of the wire; a reply of the controller may hold one that this version does not know.
pub(crate) fn code_number(code: i32) -> i16 {
    i16::try_from(code).unwrap_or(ErrorCode::UnknownServerError.code())
}

/// A message as the wire has it: null where there is nothing to say.
pub(crate) fn message(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
