//! Offsets as a partition's leader knows them: by time, the ends of the log, the ends of epochs.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionId, Timestamp};
use klamm_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use klamm_wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use klamm_wire::{ApiKey, ListOffsetsRequest, OffsetForLeaderEpochRequest, Request};
use tokio::time::{Instant, sleep};

use super::{Admin, AdminError, accept, decode};
use crate::consumer::TopicPartition;
use crate::error::code_from_wire;
use crate::net::Reply;

/// Which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The high watermark: where the next record that becomes readable will stand.
    Latest,
    /// The first offset that the log still holds.
    Earliest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record with this timestamp or a later one.
    AtOrAfter(Timestamp),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    pub offset: Offset,
    /// -1 for the ends of the log.
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

/// Where the log of a leader epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub leader_epoch: LeaderEpoch,
    /// Exclusive.
    pub end_offset: Offset,
}

impl OffsetSpec {
    /// Kafka's stand-ins for what is no time.
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::AtOrAfter(timestamp) => timestamp.0,
        }
    }
}

impl Admin {
    /// Looks an offset up; `None` if there is no such record.
    ///
    /// # Errors
    /// The partition is not known, has no leader for longer than `api_timeout`, or the leader refuses.
    pub async fn list_offset(
        &self,
        topic: &str,
        partition: PartitionId,
        spec: OffsetSpec,
    ) -> Result<Option<ListedOffset>, AdminError> {
        let asked = ListOffsetsPartition {
            partition_index: partition.0,
            timestamp: spec.timestamp(),
            ..Default::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic,
                partitions: vec![asked],
            }],
            ..Default::default()
        };
        self.ask_leader(topic, partition, &request, |reply| {
            let response = decode::<ListOffsetsRequest<'_>>(reply)?;
            let missing = || AdminError::Missing {
                api: ApiKey::ListOffsets,
                what: format!("{topic}-{partition}"),
            };
            let found = response
                .topics
                .first()
                .and_then(|topic| topic.partitions.first())
                .ok_or_else(missing)?;
            accept(
                &format!("looking up an offset in {topic}-{partition}"),
                found.error_code,
                None,
            )?;
            Ok((found.offset >= 0).then_some(ListedOffset {
                offset: Offset(found.offset),
                timestamp: Timestamp(found.timestamp),
                leader_epoch: LeaderEpoch(found.leader_epoch),
            }))
        })
        .await
    }

    /// Looks an offset up in many partitions that one broker leads, with one request and one try. Left out are those
    /// without such a record; those that the broker refuses, because it does not lead them any more, come with its code.
    ///
    /// # Errors
    /// The broker cannot be reached.
    pub async fn list_offsets_at(
        &self,
        leader: NodeId,
        partitions: &BTreeSet<TopicPartition>,
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, ErrorCode>>, AdminError> {
        let mut topics: Vec<ListOffsetsTopic<'_>> = Vec::new();
        for key in partitions {
            let asked = ListOffsetsPartition {
                partition_index: key.partition.0,
                timestamp: spec.timestamp(),
                ..Default::default()
            };
            match topics.last_mut().filter(|last| *last.name == *key.topic) {
                Some(topic) => topic.partitions.push(asked),
                None => topics.push(ListOffsetsTopic {
                    name: &key.topic,
                    partitions: vec![asked],
                }),
            }
        }
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics,
            ..Default::default()
        };
        let reply = self.call_node(leader, &request).await?;
        let response = decode::<ListOffsetsRequest<'_>>(&reply)?;
        let mut listed = BTreeMap::new();
        for topic in &response.topics {
            for found in &topic.partitions {
                let code = code_from_wire(found.error_code);
                let offset = if code.is_error() {
                    Err(code)
                } else if found.offset >= 0 {
                    Ok(Offset(found.offset))
                } else {
                    continue;
                };
                listed.insert(TopicPartition::new(topic.name, found.partition_index), offset);
            }
        }
        Ok(listed)
    }

    /// Where the log of `leader_epoch`, or of the largest epoch below it, ends; `None` if the leader knows none.
    ///
    /// # Errors
    /// As [`Admin::list_offset`].
    pub async fn offset_for_leader_epoch(
        &self,
        topic: &str,
        partition: PartitionId,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, AdminError> {
        let asked = OffsetForLeaderPartition {
            partition: partition.0,
            current_leader_epoch: -1,
            leader_epoch: leader_epoch.0,
        };
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic,
                partitions: vec![asked],
            }],
        };
        self.ask_leader(topic, partition, &request, |reply| {
            let response = decode::<OffsetForLeaderEpochRequest<'_>>(reply)?;
            let missing = || AdminError::Missing {
                api: ApiKey::OffsetForLeaderEpoch,
                what: format!("{topic}-{partition}"),
            };
            let found = response
                .topics
                .first()
                .and_then(|topic| topic.partitions.first())
                .ok_or_else(missing)?;
            accept(
                &format!("looking up an epoch of {topic}-{partition}"),
                found.error_code,
                None,
            )?;
            Ok((found.end_offset >= 0).then_some(EpochEnd {
                leader_epoch: LeaderEpoch(found.leader_epoch),
                end_offset: Offset(found.end_offset),
            }))
        })
        .await
    }

    /// Asks a partition's leader, whoever that is by now, until it answers. Only for requests that change nothing.
    async fn ask_leader<R: Request, T>(
        &self,
        topic: &str,
        partition: PartitionId,
        request: &R,
        read: impl Fn(&Reply) -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let deadline = Instant::now() + self.timeout();
        loop {
            let outcome = match self.leader(topic, partition).await {
                Ok(leader) => self.call_node(leader, request).await.and_then(|reply| read(&reply)),
                Err(failure) => Err(failure),
            };
            match outcome {
                Err(failure) if failure.is_retriable() && Instant::now() < deadline => {
                    self.client.refresh();
                    sleep(self.client.config().retry_backoff).await;
                }
                other => return other,
            }
        }
    }

    async fn leader(&self, topic: &str, partition: PartitionId) -> Result<NodeId, AdminError> {
        let found = self.client.topic(topic).await?;
        let what = format!("looking up {topic}-{partition}");
        let Some(state) = found.partition(partition) else {
            return Err(super::refused(&what, ErrorCode::UnknownTopicOrPartition, None));
        };
        state
            .leader
            .ok_or_else(|| super::refused(&what, ErrorCode::LeaderNotAvailable, None))
    }
}
