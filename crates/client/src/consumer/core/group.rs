//! What a group adds: partitions that wait for their committed offsets, and positions that may be committed.

use std::collections::BTreeMap;

use klamm_types::LeaderEpoch;

use super::Core;
use super::partition::{Partition, Phase, Position};
use crate::consumer::config::{OffsetReset, Start};
use crate::consumer::error::ConsumeError;
use crate::consumer::group::{Begin, CommittedOffset};
use crate::consumer::record::TopicPartition;

impl Core {
    /// Adds a partition that is read from where the group says.
    pub fn assign_awaiting(&mut self, key: TopicPartition) {
        self.unassign(&key);
        let mut partition = Partition::new(Start::Earliest);
        partition.phase = Phase::Awaiting;
        self.partitions.insert(key, partition);
        self.unadopted = true;
    }

    /// The group's word. It does not count for a partition that the program has moved meanwhile.
    pub fn begin(&mut self, key: &TopicPartition, begin: &Begin) {
        let reset = self.config.offset_reset;
        let waiting = |partition: &&mut Partition| matches!(partition.phase, Phase::Awaiting);
        let Some(partition) = self.partitions.get_mut(key).filter(waiting) else {
            return;
        };
        match (begin, reset) {
            (&Begin::At { offset, epoch }, _) => {
                partition.begin(Start::Offset(offset));
                partition.position = Some(Position { offset, epoch });
                if epoch > LeaderEpoch::NONE {
                    partition.phase = Phase::Validate { asked: None };
                }
            }
            (Begin::Nothing, OffsetReset::Earliest) => partition.begin(Start::Earliest),
            (Begin::Nothing, OffsetReset::Latest) => partition.begin(Start::Latest),
            (Begin::Nothing, OffsetReset::Error) => {
                partition.phase = Phase::Stopped(ConsumeError::NoCommittedOffset { partition: key.clone() });
            }
            (&Begin::Refused(code), _) => {
                partition.phase = Phase::Stopped(ConsumeError::Refused {
                    partition: key.clone(),
                    code,
                });
            }
        }
        self.moved = true;
        self.unadopted = true;
    }

    /// The program comes for more: it has dealt with all that it was handed.
    pub fn mark_processed(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.processed = partition.position;
        }
    }

    /// The program commits these itself, so it has dealt with what lies below: auto commit must not fall back behind.
    pub fn mark_committed(&mut self, offsets: &BTreeMap<TopicPartition, CommittedOffset>) {
        for (key, committed) in offsets {
            let Some(partition) = self.partitions.get_mut(key) else {
                continue;
            };
            let further = partition
                .processed
                .is_none_or(|processed| processed.offset < committed.offset);
            let handed_out = partition
                .position
                .is_some_and(|position| committed.offset <= position.offset);
            if further && handed_out {
                partition.processed = Some(Position {
                    offset: committed.offset,
                    epoch: committed.leader_epoch,
                });
            }
        }
    }

    /// Up to where the program has dealt with its records.
    pub fn processed(&self) -> BTreeMap<TopicPartition, CommittedOffset> {
        self.committable(|partition| partition.processed)
    }

    /// Up to where records were handed out.
    pub fn consumed(&self) -> BTreeMap<TopicPartition, CommittedOffset> {
        self.committable(|partition| partition.position)
    }

    fn committable(&self, of: impl Fn(&Partition) -> Option<Position>) -> BTreeMap<TopicPartition, CommittedOffset> {
        let offset = |position: Position| CommittedOffset {
            leader_epoch: position.epoch,
            ..CommittedOffset::new(position.offset)
        };
        let known = self.partitions.iter();
        known
            .filter_map(|(key, partition)| Some((key.clone(), offset(of(partition)?))))
            .collect()
    }
}
