//! The simulated brokers: logs with producer state, answers in order, stops, and leftovers of lost connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_record::{Batch, CheckRules};
use klamm_types::{ErrorCode, NodeId, Offset, PartitionId, Timestamp};
use rand::RngExt;

use super::{Event, NODES, Order, PARTITIONS, Part, PartitionAnswer, RequestId, Simulation};

/// One batch in a partition's log.
#[derive(Clone)]
pub(super) struct Entry {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub base_offset: i64,
    pub values: Vec<u64>,
}

pub(super) struct Log {
    pub leader: NodeId,
    pub epoch: i32,
    pub entries: Vec<Entry>,
    /// How many entries all replicas have.
    pub committed: usize,
}

/// What a broker owes for one partition of a request.
pub(super) enum Owed {
    Answer(PartitionAnswer),
    /// The entry at this index, once it is committed in this epoch.
    Commit {
        partition: usize,
        index: usize,
        epoch: i32,
    },
}

#[derive(Default)]
pub(super) struct Wire {
    pub open: bool,
    /// The broker is stopped: it takes nothing in and gives nothing out.
    pub stopped: bool,
    pub to_broker: VecDeque<Order>,
    pub owed: VecDeque<(RequestId, Vec<Owed>)>,
    /// Requests of former connections that the broker has received and not yet looked at.
    pub leftovers: VecDeque<Order>,
    pub unanswered: Vec<RequestId>,
}

impl Simulation {
    /// The connection ends. What the broker has received it may still look at, some time later.
    pub(super) fn disconnect(&mut self, node: NodeId) {
        let keep = self.random.random_range(0..4);
        let wire = self.wires.get_mut(&node).unwrap();
        wire.open = false;
        let received = std::mem::take(&mut wire.to_broker);
        wire.leftovers.extend(received.into_iter().take(keep));
        wire.owed.clear();
        for id in std::mem::take(&mut wire.unanswered) {
            self.tell(Event::Lost { id, sent: true });
        }
    }

    /// A broker looks at one request.
    pub(super) fn process(&mut self, node: NodeId) {
        let wire = self.wires.get_mut(&node).unwrap();
        if wire.stopped {
            return;
        }
        if let Some(order) = wire.leftovers.pop_front() {
            self.owed_for(&order);
            return;
        }
        if let Some(order) = wire.to_broker.pop_front() {
            let owed = self.owed_for(&order);
            self.wires.get_mut(&node).unwrap().owed.push_back((order.id, owed));
        }
    }

    fn owed_for(&mut self, order: &Order) -> Vec<Owed> {
        order.parts.iter().map(|part| self.produce(order.node, part)).collect()
    }

    fn produce(&mut self, node: NodeId, part: &Part) -> Owed {
        let index = part.partition.0 as usize;
        let refuse = |code| Owed::Answer(answer(index, code, Offset::NONE));
        if self.logs[index].leader != node {
            return refuse(ErrorCode::NotLeaderOrFollower);
        }
        if self.chance(0.05) {
            use ErrorCode::{CorruptMessage, MessageTooLarge, NotEnoughReplicas};
            let codes = [NotEnoughReplicas, NotEnoughReplicas, CorruptMessage, MessageTooLarge];
            return refuse(codes[self.random.random_range(0..codes.len())]);
        }
        let batch = Batch::parse(Bytes::clone(&part.batch)).unwrap();
        batch.check(&CheckRules::produced()).unwrap();
        let header = *batch.header();
        let log = &mut self.logs[index];
        let epoch = log.epoch;
        let of_producer = |entry: &&Entry| entry.producer_id == header.producer_id.0;
        let known: Vec<&Entry> = log.entries.iter().filter(of_producer).collect();
        if let Some(last) = known.last() {
            let epoch_now = header.producer_epoch.0;
            if epoch_now < last.producer_epoch {
                return refuse(ErrorCode::InvalidProducerEpoch);
            }
            let same =
                |entry: &&&Entry| entry.base_sequence == header.base_sequence.0 && entry.producer_epoch == epoch_now;
            let recent = known.iter().rev().take(5).find(same);
            if let Some(same) = recent {
                let place = log
                    .entries
                    .iter()
                    .position(|entry| entry.base_offset == same.base_offset)
                    .unwrap();
                return Owed::Commit {
                    partition: index,
                    index: place,
                    epoch,
                };
            }
            let next = if epoch_now > last.producer_epoch {
                0
            } else {
                last.base_sequence + last.values.len() as i32
            };
            if next != header.base_sequence.0 {
                return refuse(ErrorCode::OutOfOrderSequenceNumber);
            }
        }
        let base_offset = log
            .entries
            .last()
            .map_or(0, |last| last.base_offset + last.values.len() as i64);
        let values = batch.records(10_000).unwrap().map(|record| {
            let value = record.unwrap().value.unwrap();
            u64::from_be_bytes(value[..].try_into().unwrap())
        });
        log.entries.push(Entry {
            producer_id: header.producer_id.0,
            producer_epoch: header.producer_epoch.0,
            base_sequence: header.base_sequence.0,
            base_offset,
            values: values.collect(),
        });
        Owed::Commit {
            partition: index,
            index: log.entries.len() - 1,
            epoch,
        }
    }

    /// The broker answers the oldest request that it can answer.
    pub(super) fn reply(&mut self, node: NodeId) {
        let late = self.chance(0.02);
        let wire = self.wires.get_mut(&node).unwrap();
        let Some((_, owed)) = wire.owed.front() else { return };
        if wire.stopped || !wire.open {
            return;
        }
        let mut answers = Vec::new();
        for part in owed {
            match part {
                Owed::Answer(answer) => answers.push(answer.clone()),
                Owed::Commit {
                    partition,
                    index,
                    epoch,
                } => {
                    let log = &self.logs[*partition];
                    if log.epoch != *epoch {
                        answers.push(answer(*partition, ErrorCode::NotLeaderOrFollower, Offset::NONE));
                    } else if *index < log.committed {
                        let base = log.entries[*index].base_offset;
                        answers.push(answer(*partition, ErrorCode::None, Offset(base)));
                    } else if late {
                        answers.push(answer(*partition, ErrorCode::RequestTimedOut, Offset::NONE));
                    } else {
                        return;
                    }
                }
            }
        }
        let Some((id, _)) = wire.owed.pop_front() else { return };
        wire.unanswered.retain(|other| *other != id);
        self.tell(Event::Answered {
            id,
            answers,
            throttle: Duration::ZERO,
        });
    }

    pub(super) fn commit(&mut self) {
        let index = self.random.random_range(0..PARTITIONS);
        let log = &mut self.logs[index];
        log.committed = (log.committed + 2).min(log.entries.len());
    }

    /// The new leader has everything committed and some of the rest.
    pub(super) fn change_leader(&mut self) {
        let index = self.random.random_range(0..PARTITIONS);
        let kept = self.random.random_range(0..4);
        let leader = NodeId(self.random.random_range(1..=NODES));
        let log = &mut self.logs[index];
        log.leader = leader;
        log.epoch += 1;
        log.entries.truncate(log.committed + kept);
    }
}

fn answer(partition: usize, code: ErrorCode, base_offset: Offset) -> PartitionAnswer {
    PartitionAnswer {
        topic: Arc::from("t"),
        partition: PartitionId(partition as i32),
        code,
        base_offset,
        append_time: Timestamp::NONE,
        message: None,
    }
}
