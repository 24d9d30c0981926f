//! What to ask next, of whom, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::{Moment, NodeId, Timestamp, TopicId};

use super::partition::{Leader, Partition, Phase};
use super::{Core, Effect, Fetch, FetchOrder, FetchPart, ListOrder, ListPart, Query, ValidateOrder, ValidatePart};
use crate::consumer::config::Start;
use crate::consumer::error::Obstacle;
use crate::consumer::record::TopicPartition;

/// Fetches under way per broker. Two, so that a partition that becomes fetchable while the broker waits for data of
/// the others does not wait with them.
const FETCHES_PER_NODE_MAX: usize = 2;
/// How many answers of one partition may be buffered before no more is fetched for it.
const ANSWERS_AHEAD: usize = 2;
/// While something is wrong, a fresh picture is asked for at intervals of so many `retry_backoff`.
const REFRESH_BACKOFFS: u32 = 5;

/// How ListOffsets names the ends of a log.
const END: Timestamp = Timestamp(-1);
const BEGINNING: Timestamp = Timestamp(-2);

/// The earliest of the moments at which there may be something to do.
#[derive(Default)]
struct Wake(Option<Moment>);

impl Wake {
    fn at(&mut self, moment: Moment) {
        self.0 = Some(self.0.map_or(moment, |known| known.min(moment)));
    }
}

/// What one broker is to be asked.
#[derive(Default)]
struct Work {
    lookups: Vec<ListPart>,
    validations: Vec<ValidatePart>,
    /// With the fetch that last brought something, so that those served longest ago come first.
    fetches: Vec<(u64, FetchPart)>,
}

impl Core {
    /// Says what to do now, and when to call again if nothing happens before.
    pub fn poll(&mut self, now: Moment, effects: &mut Vec<Effect>) -> Option<Moment> {
        if self.unadopted {
            self.adopt_leaders(now);
        }
        let mut wake = Wake::default();
        let mut work = self.gather(now, &mut wake);
        for (&node, work) in &mut work {
            self.ask(now, node, work, effects);
        }
        // Brokers that were asked longest ago come first, in case memory does not suffice for all.
        let mut nodes: Vec<(NodeId, Vec<(u64, FetchPart)>)> = work
            .into_iter()
            .map(|(node, work)| (node, work.fetches))
            .filter(|(_, parts)| !parts.is_empty())
            .collect();
        nodes.sort_by_key(|(node, _)| self.nodes.get(node).map_or(0, |node| node.asked));
        for (node, parts) in nodes {
            self.fetch(now, node, parts, effects);
        }
        effects.extend(self.abandoned.drain(..).map(Effect::Abandon));
        self.refresh(now, &mut wake, effects);
        wake.0
    }

    /// Sorts what the partitions need by broker.
    fn gather(&mut self, now: Moment, wake: &mut Wake) -> BTreeMap<NodeId, Work> {
        let mut all: BTreeMap<NodeId, Work> = BTreeMap::new();
        let ahead_max = self
            .config
            .partition_fetch_bytes_max
            .saturating_mul(ANSWERS_AHEAD)
            .max(1);
        for (key, partition) in &mut self.partitions {
            let report_at = partition
                .failing
                .as_ref()
                .map(|failing| failing.since + self.config.unavailable_after);
            if let Some(report_at) = report_at.filter(|at| *at > now) {
                wake.at(report_at);
            }
            if partition.buffered_bytes >= ahead_max {
                partition.failing = None;
                continue;
            }
            let Some(leader) = partition.leader.filter(|_| needs_leader(partition)) else {
                continue;
            };
            let node_ready = self
                .nodes
                .get(&leader.node)
                .map_or(Moment::default(), |node| node.retry_at);
            let ready = partition.retry_at.max(node_ready);
            if ready > now {
                wake.at(ready);
                continue;
            }
            add(all.entry(leader.node).or_default(), key, partition, leader);
        }
        all
    }

    /// Sends the short questions.
    fn ask(&mut self, now: Moment, node: NodeId, work: &mut Work, effects: &mut Vec<Effect>) {
        let (lookups, validations) = (std::mem::take(&mut work.lookups), std::mem::take(&mut work.validations));
        if !lookups.is_empty() {
            let id = self.query(now, node, lookups.iter().map(|part| part.partition.clone()).collect());
            effects.push(Effect::List(ListOrder {
                id,
                node,
                parts: lookups,
            }));
        }
        if !validations.is_empty() {
            let id = self.query(
                now,
                node,
                validations.iter().map(|part| part.partition.clone()).collect(),
            );
            effects.push(Effect::Validate(ValidateOrder {
                id,
                node,
                parts: validations,
            }));
        }
    }

    fn query(&mut self, now: Moment, node: NodeId, parts: BTreeSet<TopicPartition>) -> u64 {
        let id = self.next_id();
        for key in &parts {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.set_asked(Some(id));
            }
        }
        self.queries.insert(id, Query { node, sent: now, parts });
        id
    }

    /// Sends a fetch to a broker, if it may have one more and memory suffices.
    fn fetch(&mut self, now: Moment, node: NodeId, mut parts: Vec<(u64, FetchPart)>, effects: &mut Vec<Effect>) {
        let under_way = self.fetches.values().filter(|fetch| fetch.node == node).count();
        let partition_bytes_max = self.config.partition_fetch_bytes_max.max(1);
        let wanted = partition_bytes_max.saturating_mul(parts.len());
        let bytes_max = self.share().min(wanted);
        let taken = self.buffered + self.reserved;
        if under_way >= FETCHES_PER_NODE_MAX || (taken > 0 && taken + bytes_max > self.config.buffer_memory) {
            return;
        }
        // Brokers fill their answer in the order of the request.
        parts.sort_by_key(|(served, _)| *served);
        let parts: Vec<FetchPart> = parts.into_iter().map(|(_, part)| part).collect();
        let id = self.next_id();
        for part in &parts {
            if let Some(partition) = self.partitions.get_mut(&part.partition) {
                partition.fetching = Some(id);
            }
        }
        let keys = parts.iter().map(|part| part.partition.clone()).collect();
        self.node(node).asked = id;
        self.reserved += bytes_max;
        self.fetches.insert(
            id,
            Fetch {
                node,
                sent: now,
                reserved: bytes_max,
                parts: keys,
            },
        );
        let partition_bytes_max = partition_bytes_max.min(bytes_max);
        effects.push(Effect::Fetch(FetchOrder {
            id,
            node,
            bytes_max,
            partition_bytes_max,
            parts,
        }));
    }

    /// What one fetch may bring, so that all brokers can be asked at a time: an idle one holds on to its share.
    fn share(&self) -> usize {
        let mut nodes: Vec<NodeId> = self
            .partitions
            .values()
            .filter_map(|p| p.leader)
            .map(|leader| leader.node)
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        let share = self.config.buffer_memory / (nodes.len().max(1) * FETCHES_PER_NODE_MAX);
        share.min(self.config.fetch_bytes_max).max(1)
    }

    /// Asks for a fresh picture at once if something just failed, and at intervals while something is wrong.
    fn refresh(&mut self, now: Moment, wake: &mut Wake, effects: &mut Vec<Effect>) {
        let overdue = |sent: Moment| sent + self.config.slow_after;
        let sent = self
            .fetches
            .values()
            .map(|fetch| fetch.sent)
            .chain(self.queries.values().map(|query| query.sent));
        let slow = sent.map(overdue).min();
        let missing = |partition: &Partition| {
            let failing = partition.failing.as_ref().map(|failing| &failing.obstacle);
            !partition.paused && !matches!(failing, None | Some(Obstacle::NoWholeBatch))
        };
        let wrong = self.stale || self.partitions.values().any(missing) || slow.is_some_and(|slow| slow <= now);
        if !wrong {
            if let Some(slow) = slow {
                wake.at(slow);
            }
            return;
        }
        let pause = self.config.retry_backoff * if self.stale { 1 } else { REFRESH_BACKOFFS };
        let due = self.refreshed.map_or(now, |refreshed| refreshed + pause);
        if due > now {
            wake.at(due);
            return;
        }
        self.refreshed = Some(now);
        self.stale = false;
        effects.push(Effect::Refresh);
        wake.at(now + self.config.retry_backoff * REFRESH_BACKOFFS);
    }
}

/// Whether there is something to ask the leader, and a leader to ask.
fn needs_leader(partition: &Partition) -> bool {
    let idle = partition.fetching.is_none() && partition.asked().is_none() && partition.fault.is_none();
    partition.has_leader && !partition.paused && idle
}

/// Adds what the partition needs to the work of its leader.
fn add(work: &mut Work, key: &TopicPartition, partition: &Partition, leader: Leader) {
    let (key, leader_epoch) = (key.clone(), leader.epoch);
    match &partition.phase {
        Phase::Lookup { start, .. } if partition.buffer.is_empty() => {
            let timestamp = match start {
                Start::Earliest | Start::Offset(_) => BEGINNING,
                Start::Latest => END,
                Start::Timestamp(timestamp) => Timestamp(timestamp.0.max(0)),
            };
            work.lookups.push(ListPart {
                partition: key,
                leader_epoch,
                timestamp,
            });
        }
        Phase::Validate { .. } => {
            let epoch = partition.position.map_or(leader_epoch, |position| position.epoch);
            work.validations.push(ValidatePart {
                partition: key,
                leader_epoch,
                epoch,
            });
        }
        Phase::Fetch => {
            let Some(position) = partition.fetch_position() else {
                return;
            };
            let topic_id = partition.topic_id.unwrap_or(TopicId::ZERO);
            let part = FetchPart {
                partition: key,
                topic_id,
                leader_epoch,
                offset: position.offset,
            };
            work.fetches.push((partition.served, part));
        }
        Phase::Awaiting | Phase::Lookup { .. } | Phase::Stopped(_) => {}
    }
}
