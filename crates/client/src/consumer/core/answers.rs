//! What answers, refusals and silence mean for the partitions that waited for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset};

use super::admit::admit;
use super::partition::{Phase, Position};
use super::{Core, EpochPart, FetchAnswer, FetchedPart, ListedPart};
use crate::consumer::config::{IsolationLevel, OffsetReset, Start};
use crate::consumer::error::{ConsumeError, Obstacle};
use crate::consumer::record::TopicPartition;
use crate::error::RequestError;

/// An offset that the broker told; it says -1 for none.
fn told(offset: Offset) -> Option<Offset> {
    (offset.0 >= 0).then_some(offset)
}

/// Whether a refusal passes by itself, or with a fresh picture of the cluster.
fn passes(code: ErrorCode) -> bool {
    // Brokers say the second when they met something unexpected; it need not come again.
    code.is_retriable() || code == ErrorCode::UnknownServerError
}

impl Core {
    pub(super) fn fetched(&mut self, now: Moment, id: u64, outcome: Result<FetchAnswer, Arc<RequestError>>) {
        let Some(fetch) = self.fetches.remove(&id) else { return };
        self.reserved -= fetch.reserved;
        for key in &fetch.parts {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.fetching = None;
            }
        }
        let answer = match outcome {
            Ok(answer) => answer,
            Err(cause) => return self.unanswered(now, fetch.node, &fetch.parts, &cause),
        };
        self.answered(fetch.node);
        let node = self.node(fetch.node);
        node.retry_at = now + answer.throttle;
        if answer.code.is_error() {
            for key in &fetch.parts {
                self.refused(now, key, answer.code);
            }
            return;
        }
        let mut waiting = fetch.parts;
        for part in answer.parts {
            if !waiting.remove(&part.partition) {
                continue;
            }
            self.fetched_part(now, id, answer.bytes, part);
        }
        for key in waiting {
            self.refused(now, &key, ErrorCode::UnknownServerError);
        }
    }

    fn fetched_part(&mut self, now: Moment, fetch: u64, bytes: usize, part: FetchedPart) {
        let key = part.partition;
        let isolation = self.config.isolation;
        let Some(partition) = self.partitions.get_mut(&key) else {
            return;
        };
        let Some(position) = partition.fetch_position() else {
            return;
        };
        match part.code {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                partition.log_start = told(part.log_start).map(LogStartOffset::from).or(partition.log_start);
                let failure = ConsumeError::OffsetOutOfRange {
                    partition: key.clone(),
                    position: position.offset,
                    log_start: told(part.log_start).map(LogStartOffset::from),
                };
                return self.leave(&key, position, failure);
            }
            code => return self.refused(now, &key, code),
        }
        partition.high_watermark = told(part.high_watermark).map(HighWatermark::from);
        partition.readable_end = match isolation {
            IsolationLevel::ReadUncommitted => told(part.high_watermark),
            IsolationLevel::ReadCommitted => told(part.last_stable).or(told(part.high_watermark)),
        };
        partition.log_start = told(part.log_start).map(LogStartOffset::from);
        let empty = part.records.is_empty();
        let admitted = admit(part.records, position.offset, isolation, &part.aborted);
        if admitted.batches.is_empty() && admitted.fault.is_none() && !empty {
            // The broker had no room for the whole of the first batch; the partition comes first in the next fetch.
            partition.retry_at = now + self.config.retry_backoff;
            return partition.hinder(now, Obstacle::NoWholeBatch);
        }
        partition.fault = admitted.fault;
        partition.failing = None;
        self.fill(&key, fetch, bytes, admitted.batches);
    }

    pub(super) fn listed(&mut self, now: Moment, id: u64, outcome: Result<Vec<ListedPart>, Arc<RequestError>>) {
        let Some(query) = self.queries.remove(&id) else { return };
        let mut waiting = self.settle(id, query.parts);
        let parts = match outcome {
            Ok(parts) => parts,
            Err(cause) => return self.unanswered(now, query.node, &waiting, &cause),
        };
        self.answered(query.node);
        for part in parts {
            if !waiting.remove(&part.partition) {
                continue;
            }
            self.listed_part(now, &part);
        }
        for key in waiting {
            self.refused(now, &key, ErrorCode::UnknownServerError);
        }
    }

    fn listed_part(&mut self, now: Moment, part: &ListedPart) {
        if part.code.is_error() {
            return self.refused(now, &part.partition, part.code);
        }
        let Some(partition) = self.partitions.get_mut(&part.partition) else {
            return;
        };
        let Phase::Lookup { start, .. } = partition.phase else {
            return;
        };
        match (told(part.offset), start) {
            (Some(offset), _) => {
                partition.failing = None;
                partition.position = Some(Position {
                    offset,
                    epoch: LeaderEpoch::NONE,
                });
                partition.phase = Phase::Fetch;
                self.moved = true;
            }
            // No record is as young as the time asked for.
            (None, Start::Timestamp(_)) => {
                partition.phase = Phase::Lookup {
                    start: Start::Latest,
                    asked: None,
                }
            }
            (None, _) => self.refused(now, &part.partition, ErrorCode::OffsetNotAvailable),
        }
    }

    pub(super) fn validated(&mut self, now: Moment, id: u64, outcome: Result<Vec<EpochPart>, Arc<RequestError>>) {
        let Some(query) = self.queries.remove(&id) else { return };
        let mut waiting = self.settle(id, query.parts);
        let parts = match outcome {
            Ok(parts) => parts,
            Err(cause) if matches!(*cause, RequestError::Unsupported { .. }) => {
                // A broker that cannot tell; nothing speaks against the position.
                for key in waiting {
                    self.go_on(&key);
                }
                return;
            }
            Err(cause) => return self.unanswered(now, query.node, &waiting, &cause),
        };
        self.answered(query.node);
        for part in parts {
            if !waiting.remove(&part.partition) {
                continue;
            }
            match part.code {
                ErrorCode::None => self.judge(&part),
                code => self.refused(now, &part.partition, code),
            }
        }
        for key in waiting {
            self.refused(now, &key, ErrorCode::UnknownServerError);
        }
    }

    /// Whether the new leader's log holds what was read up to the position.
    fn judge(&mut self, part: &EpochPart) {
        let key = &part.partition;
        let Some(position) = self.partitions.get(key).and_then(|partition| partition.position) else {
            return;
        };
        let divergence = match told(part.end).filter(|_| part.epoch.0 >= 0) {
            None => None,
            // The leader never had the epoch in which the last record was read. Where that began is not known, only
            // that the logs agree at most this far.
            Some(end) if part.epoch < position.epoch => Some(end.min(position.offset)),
            Some(end) if end < position.offset => Some(end),
            Some(_) => return self.go_on(key),
        };
        let failure = ConsumeError::Truncated {
            partition: key.clone(),
            position: position.offset,
            read_under: position.epoch,
            divergence,
        };
        match divergence {
            Some(offset) if self.config.offset_reset != OffsetReset::Error => {
                tracing::warn!(partition = %key, position = %position.offset, %offset, "the log was cut; reading on there");
                if let Some(partition) = self.partitions.get_mut(key) {
                    partition.position = Some(Position {
                        offset,
                        epoch: LeaderEpoch::NONE,
                    });
                }
                self.moved = true;
                self.go_on(key);
            }
            _ => self.leave(key, position, failure),
        }
    }

    fn go_on(&mut self, key: &TopicPartition) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.phase = Phase::Fetch;
            partition.failing = None;
        }
    }

    /// Those that still wait for this query; they wait no longer.
    fn settle(&mut self, id: u64, parts: BTreeSet<TopicPartition>) -> BTreeSet<TopicPartition> {
        let mut waited = parts;
        waited.retain(|key| {
            let partition = self
                .partitions
                .get_mut(key)
                .filter(|partition| partition.asked() == Some(id));
            partition.map(|partition| partition.set_asked(None)).is_some()
        });
        waited
    }

    fn answered(&mut self, node: NodeId) {
        self.node(node).backoff.reset();
    }

    /// A broker did not answer, or not in words that we understand.
    fn unanswered(&mut self, now: Moment, node: NodeId, waiting: &BTreeSet<TopicPartition>, cause: &Arc<RequestError>) {
        tracing::debug!(node = %node, error = %cause, "a broker did not answer");
        let node = self.node(node);
        node.retry_at = now + node.backoff.next();
        self.stale = true;
        for key in waiting {
            if !cause.is_retriable() {
                let failure = ConsumeError::Request {
                    partition: key.clone(),
                    cause: Arc::clone(cause),
                };
                self.stop(key, failure);
            } else if let Some(partition) = self.partitions.get_mut(key) {
                partition.hinder(now, Obstacle::Request(Arc::clone(cause)));
            }
        }
    }

    /// A broker answered with an error code.
    fn refused(&mut self, now: Moment, key: &TopicPartition, code: ErrorCode) {
        if !passes(code) {
            return self.stop(
                key,
                ConsumeError::Refused {
                    partition: key.clone(),
                    code,
                },
            );
        }
        tracing::debug!(partition = %key, %code, "refused for now");
        self.stale = true;
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.retry_at = now + self.config.retry_backoff;
            partition.hinder(now, Obstacle::Refused(code));
        }
    }
}
