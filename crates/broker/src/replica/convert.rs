//! Between the replication core's words and the messages of `replica.proto`. What a message leaves out or what cannot
//! be a value of ours is an error that ends the stream: a peer of the same program never sends it.

use bytes::Bytes;
use klamm_log::BatchBytes;
use klamm_proto::replica::v1::{
    Accepted, Acknowledgement, Diverged, HighWatermarkUpdate, OutOfRange, PartitionBatches, Refused, Subscription,
    SubscriptionAnswer, Unsubscription, subscription_answer,
};
use klamm_record::{BatchError, Batches, CheckRules};
use klamm_replication::{
    Acknowledge, Event, Lane, ProducerTable, ReplicaBatches, SnapshotError, Subscribe, SubscribeAnswer,
    SubscriptionNumber,
};
use klamm_types::{
    BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionId, TopicId,
    TopicPartition,
};

/// A message that no peer of ours sends.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("reading a topic id of {length} bytes instead of 16")]
    TopicId { length: usize },
    #[error("reading a message without its content")]
    Empty,
    #[error("reading the unknown error code {code}")]
    ErrorCode { code: i32 },
    #[error("reading what a leader knows of producers")]
    Producers(#[source] SnapshotError),
    #[error("checking a batch of partition {partition}")]
    Batch {
        partition: TopicPartition,
        #[source]
        cause: BatchError,
    },
}

/// Names one subscription in messages of either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionKey {
    pub partition: TopicPartition,
    pub number: SubscriptionNumber,
    pub leader_epoch: LeaderEpoch,
}

/// The high watermark and log start that a leader tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub high_watermark: HighWatermark,
    pub log_start: LogStartOffset,
}

fn topic_bytes(partition: TopicPartition) -> Bytes {
    Bytes::copy_from_slice(partition.topic.as_bytes())
}

pub fn partition_of(topic_id: &[u8], partition: i32) -> Result<TopicPartition, MessageError> {
    let topic = TopicId::from_slice(topic_id).ok_or(MessageError::TopicId { length: topic_id.len() })?;
    Ok(TopicPartition {
        topic,
        partition: PartitionId(partition),
    })
}

// ---- what a follower sends ----

pub fn to_subscription(
    key: SubscriptionKey,
    next_offset: Offset,
    last_epoch: LeaderEpoch,
    credit: u64,
) -> Subscription {
    Subscription {
        topic_id: topic_bytes(key.partition),
        partition: key.partition.partition.0,
        number: key.number.0,
        leader_epoch: key.leader_epoch.0,
        next_offset: next_offset.0,
        last_epoch: last_epoch.0,
        credit,
    }
}

pub fn from_subscription(message: &Subscription, follower: NodeId, broker_epoch: BrokerEpoch) -> Subscribe {
    Subscribe {
        follower,
        broker_epoch,
        subscription: SubscriptionNumber(message.number),
        leader_epoch: LeaderEpoch(message.leader_epoch),
        next_offset: Offset(message.next_offset),
        last_epoch: LeaderEpoch(message.last_epoch),
        credit_bytes: message.credit,
    }
}

pub fn to_acknowledgement(key: SubscriptionKey, written: Offset, flushed: Offset, credit: u64) -> Acknowledgement {
    Acknowledgement {
        topic_id: topic_bytes(key.partition),
        partition: key.partition.partition.0,
        number: key.number.0,
        leader_epoch: key.leader_epoch.0,
        written: written.0,
        flushed: flushed.0,
        credit,
    }
}

pub fn from_acknowledgement(message: &Acknowledgement, follower: NodeId, broker_epoch: BrokerEpoch) -> Acknowledge {
    Acknowledge {
        follower,
        broker_epoch,
        subscription: SubscriptionNumber(message.number),
        leader_epoch: LeaderEpoch(message.leader_epoch),
        written: Offset(message.written),
        flushed: Offset(message.flushed),
        credit_bytes: message.credit,
    }
}

pub fn to_unsubscription(key: SubscriptionKey) -> Unsubscription {
    Unsubscription {
        topic_id: topic_bytes(key.partition),
        partition: key.partition.partition.0,
        number: key.number.0,
        leader_epoch: key.leader_epoch.0,
    }
}

pub fn from_unsubscription(message: &Unsubscription, follower: NodeId) -> Event {
    Event::Unsubscribe {
        follower,
        subscription: SubscriptionNumber(message.number),
        leader_epoch: LeaderEpoch(message.leader_epoch),
    }
}

// ---- what a leader sends ----

pub fn to_answer(key: SubscriptionKey, answer: &SubscribeAnswer) -> SubscriptionAnswer {
    use subscription_answer::Answer;
    let answer = match answer {
        SubscribeAnswer::Accepted {
            high_watermark,
            log_start,
        } => Answer::Accepted(Accepted {
            high_watermark: high_watermark.0,
            log_start_offset: log_start.0,
        }),
        SubscribeAnswer::Diverged { epoch, end_offset } => Answer::Diverged(Diverged {
            epoch: epoch.0,
            end_offset: end_offset.0,
        }),
        SubscribeAnswer::OutOfRange { log_start, producers } => Answer::OutOfRange(OutOfRange {
            log_start_offset: log_start.0,
            producers: producers.encode(),
        }),
        SubscribeAnswer::Refused { error, leader_epoch } => Answer::Refused(Refused {
            error: i32::from(error.code()),
            leader_epoch: leader_epoch.0,
        }),
    };
    SubscriptionAnswer {
        topic_id: topic_bytes(key.partition),
        partition: key.partition.partition.0,
        number: key.number.0,
        leader_epoch: key.leader_epoch.0,
        answer: Some(answer),
    }
}

pub fn from_answer(message: &SubscriptionAnswer, leader: NodeId) -> Result<Event, MessageError> {
    use subscription_answer::Answer;
    let answer = match message.answer.as_ref().ok_or(MessageError::Empty)? {
        Answer::Accepted(accepted) => SubscribeAnswer::Accepted {
            high_watermark: HighWatermark(accepted.high_watermark),
            log_start: LogStartOffset(accepted.log_start_offset),
        },
        Answer::Diverged(diverged) => SubscribeAnswer::Diverged {
            epoch: LeaderEpoch(diverged.epoch),
            end_offset: Offset(diverged.end_offset),
        },
        Answer::OutOfRange(range) => SubscribeAnswer::OutOfRange {
            log_start: LogStartOffset(range.log_start_offset),
            // A peer of an older version tells of none.
            producers: match range.producers.is_empty() {
                true => ProducerTable::new(Offset(range.log_start_offset)),
                false => ProducerTable::decode(&range.producers).map_err(MessageError::Producers)?,
            },
        },
        Answer::Refused(refused) => SubscribeAnswer::Refused {
            error: i16::try_from(refused.error)
                .ok()
                .and_then(ErrorCode::from_code)
                .ok_or(MessageError::ErrorCode { code: refused.error })?,
            leader_epoch: LeaderEpoch(refused.leader_epoch),
        },
    };
    Ok(Event::SubscribeAnswered {
        leader,
        subscription: SubscriptionNumber(message.number),
        leader_epoch: LeaderEpoch(message.leader_epoch),
        answer,
    })
}

pub fn to_batches(key: SubscriptionKey, bounds: Bounds, from: Offset, batches: BatchBytes) -> PartitionBatches {
    PartitionBatches {
        topic_id: topic_bytes(key.partition),
        partition: key.partition.partition.0,
        number: key.number.0,
        leader_epoch: key.leader_epoch.0,
        high_watermark: bounds.high_watermark.0,
        log_start_offset: bounds.log_start.0,
        records: batches.chunks,
        from_offset: from.0,
    }
}

/// Also checks every batch: what a follower appends has a right checksum.
pub fn from_batches(
    message: PartitionBatches,
    (leader, lane): (NodeId, Lane),
) -> Result<(TopicPartition, Event), MessageError> {
    let partition = partition_of(&message.topic_id, message.partition)?;
    let mut batches = Vec::with_capacity(message.records.len());
    for piece in message.records {
        for batch in Batches::new(piece) {
            let checked = batch.and_then(|batch| batch.check(&CheckRules::stored()).map(|_| batch));
            batches.push(checked.map_err(|cause| MessageError::Batch { partition, cause })?);
        }
    }
    let event = Event::ReplicaBatches(ReplicaBatches {
        leader,
        lane,
        subscription: SubscriptionNumber(message.number),
        leader_epoch: LeaderEpoch(message.leader_epoch),
        from: Offset(message.from_offset),
        batches,
        high_watermark: HighWatermark(message.high_watermark),
        log_start: LogStartOffset(message.log_start_offset),
    });
    Ok((partition, event))
}

pub fn to_high_watermark(key: SubscriptionKey, bounds: Bounds) -> HighWatermarkUpdate {
    HighWatermarkUpdate {
        topic_id: topic_bytes(key.partition),
        partition: key.partition.partition.0,
        number: key.number.0,
        leader_epoch: key.leader_epoch.0,
        high_watermark: bounds.high_watermark.0,
        log_start_offset: bounds.log_start.0,
    }
}

pub fn from_high_watermark(message: &HighWatermarkUpdate, (leader, lane): (NodeId, Lane)) -> Event {
    Event::ReplicaBatches(ReplicaBatches {
        leader,
        lane,
        subscription: SubscriptionNumber(message.number),
        leader_epoch: LeaderEpoch(message.leader_epoch),
        from: Offset::NONE,
        batches: Vec::new(),
        high_watermark: HighWatermark(message.high_watermark),
        log_start: LogStartOffset(message.log_start_offset),
    })
}
