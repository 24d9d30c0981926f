//! Who leads each partition now, and what follows when that changes.

use std::sync::Arc;

use klamm_types::{Moment, TopicId};

use super::Core;
use super::partition::{Leader, Phase, Position};
use crate::consumer::config::{OffsetReset, Start};
use crate::consumer::error::{ConsumeError, Obstacle};
use crate::consumer::record::TopicPartition;
use crate::metadata::Cluster;

/// What the picture of the cluster says of a partition.
enum Word {
    Leader(Leader, TopicId),
    /// There is none to go to just now.
    Missing(Obstacle),
    /// And waiting does not help.
    Refused(ConsumeError),
}

fn word(cluster: &Cluster, key: &TopicPartition) -> Word {
    let Some(topic) = cluster.topics.get(&key.topic) else {
        return Word::Missing(Obstacle::UnknownPartition);
    };
    if let Some(code) = topic.error {
        if code.is_retriable() {
            return Word::Missing(Obstacle::UnknownPartition);
        }
        return Word::Refused(ConsumeError::Refused {
            partition: key.clone(),
            code,
        });
    }
    let Some(partition) = topic.partition(key.partition) else {
        return Word::Missing(Obstacle::UnknownPartition);
    };
    match partition.leader.filter(|leader| cluster.brokers.contains_key(leader)) {
        Some(node) => Word::Leader(
            Leader {
                node,
                epoch: partition.leader_epoch,
            },
            topic.id,
        ),
        None => Word::Missing(Obstacle::NoLeader),
    }
}

impl Core {
    /// Takes over what the picture of the cluster says now.
    pub(super) fn adopt_leaders(&mut self, now: Moment) {
        let cluster = Arc::clone(&self.cluster);
        self.unadopted = false;
        for key in self.assignment() {
            match word(&cluster, &key) {
                Word::Leader(leader, topic_id) => {
                    self.adopt_topic(&key, topic_id);
                    self.adopt_leader(&key, leader);
                }
                Word::Missing(obstacle) => {
                    if let Some(partition) = self.partitions.get_mut(&key) {
                        partition.has_leader = false;
                        partition.hinder(now, obstacle);
                    }
                }
                Word::Refused(failure) => self.stop(&key, failure),
            }
        }
    }

    fn adopt_leader(&mut self, key: &TopicPartition, leader: Leader) {
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        partition.has_leader = true;
        let Some(before) = partition.leader.replace(leader) else {
            return;
        };
        if before == leader {
            return;
        }
        // Answers of the former leader do not count any more, and the new one is asked at once.
        partition.set_asked(None);
        partition.retry_at = Moment::default();
        self.release(key);
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        if before.epoch == leader.epoch || !matches!(partition.phase, Phase::Fetch) {
            return;
        }
        let read = partition
            .position
            .is_some_and(|position| position.epoch.0 >= 0 && position.epoch < leader.epoch);
        // What was fetched ahead is fetched again: one question then settles all.
        self.drop_buffer(key);
        if let Some(partition) = self.partitions.get_mut(key).filter(|_| read) {
            partition.phase = Phase::Validate { asked: None };
        }
    }

    /// A position means nothing in a topic that was created anew.
    fn adopt_topic(&mut self, key: &TopicPartition, topic_id: TopicId) {
        let Some(partition) = self.partitions.get_mut(key) else {
            return;
        };
        let before = partition.topic_id.replace(topic_id);
        if !before.is_some_and(|before| before != topic_id && before != TopicId::ZERO && topic_id != TopicId::ZERO) {
            return;
        }
        partition.leader = None;
        partition.set_asked(None);
        (partition.high_watermark, partition.readable_end, partition.log_start) = (None, None, None);
        if let Some(position) = partition.position {
            self.drop_buffer(key);
            tracing::warn!(partition = %key, "the topic was replaced by another of the same name");
            self.leave(key, position, ConsumeError::TopicReplaced { partition: key.clone() });
        }
    }

    /// The log does not hold the position: what the program chose for this happens. Needs no empty buffer; what is in
    /// it is handed out first.
    pub(super) fn leave(&mut self, key: &TopicPartition, position: Position, failure: ConsumeError) {
        let start = match self.config.offset_reset {
            OffsetReset::Error => return self.stop(key, failure),
            OffsetReset::Earliest => Start::Earliest,
            OffsetReset::Latest => Start::Latest,
        };
        tracing::warn!(partition = %key, offset = %position.offset, ?start, "the log does not hold the position");
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.phase = Phase::Lookup { start, asked: None };
        }
    }

    /// Nothing more is asked for the partition until the program seeks.
    pub(super) fn stop(&mut self, key: &TopicPartition, failure: ConsumeError) {
        self.release(key);
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.phase = Phase::Stopped(failure);
        }
    }
}
