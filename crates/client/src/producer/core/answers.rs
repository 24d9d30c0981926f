//! What becomes of a batch when its request is answered, lost, or impossible.

use std::time::Duration;

use klamm_types::{ErrorCode, Moment, NodeId, Offset, PartitionId, Timestamp};

use super::queue::{Flight, Place, Queue};
use super::{Core, Effect, Link, RequestId, Written};
use crate::producer::config::{Acks, Guarantee};
use crate::producer::error::{self, ProduceError};

/// What a broker said about one partition of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::producer) struct PartitionAnswer {
    pub topic: std::sync::Arc<str>,
    pub partition: PartitionId,
    pub code: ErrorCode,
    pub base_offset: Offset,
    pub append_time: Timestamp,
    pub message: Option<String>,
}

/// Which request is answered, and when.
#[derive(Clone, Copy)]
struct Attempt {
    now: Moment,
    id: RequestId,
    node: NodeId,
}

/// How soon a leader is asked again of which we have only just heard.
const RETRY_FIRST: Duration = Duration::from_millis(2);

/// What a code means for the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    Retry {
        refresh: bool,
        unknown: bool,
    },
    OutOfOrder,
    /// The broker does not accept the producer's identity.
    IdentityLost,
    Refused(error::Effect),
}

fn judge(code: ErrorCode, acks: Acks) -> Verdict {
    use ErrorCode::*;
    match code {
        None | DuplicateSequenceNumber => Verdict::Written,
        OutOfOrderSequenceNumber => Verdict::OutOfOrder,
        UnknownProducerId | InvalidProducerEpoch | ProducerFenced | InvalidProducerIdMapping => Verdict::IdentityLost,
        // A leader that steps down while a batch waits for its replicas answers so too, and they may have it.
        NotLeaderOrFollower => Verdict::Retry {
            refresh: true,
            unknown: acks == Acks::All,
        },
        KafkaStorageError | NetworkException | ReplicaNotAvailable | BrokerNotAvailable => Verdict::Retry {
            refresh: true,
            unknown: true,
        },
        UnknownTopicOrPartition
        | LeaderNotAvailable
        | ListenerNotFound
        | UnknownTopicId
        | InconsistentTopicId
        | FencedLeaderEpoch => Verdict::Retry {
            refresh: true,
            unknown: false,
        },
        RequestTimedOut | NotEnoughReplicasAfterAppend => Verdict::Retry {
            refresh: false,
            unknown: true,
        },
        NotEnoughReplicas | CorruptMessage | ThrottlingQuotaExceeded => Verdict::Retry {
            refresh: false,
            unknown: false,
        },
        UnknownServerError => Verdict::Refused(error::Effect::Possible),
        other if other.is_retriable() => Verdict::Retry {
            refresh: true,
            unknown: true,
        },
        _ => Verdict::Refused(error::Effect::None),
    }
}

impl<T: Clone> Core<T> {
    pub(super) fn answered(
        &mut self,
        now: Moment,
        id: RequestId,
        answers: Vec<PartitionAnswer>,
        throttle: Duration,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let node = self.node(request.node);
        node.in_flight = node.in_flight.saturating_sub(1);
        node.resume_at = now + throttle;
        for answer in answers {
            let slot = self
                .topics
                .get(&answer.topic)
                .and_then(|entry| entry.slots.get(usize::try_from(answer.partition.0).ok()?).copied());
            if let Some(slot) = slot {
                let attempt = Attempt {
                    now,
                    id,
                    node: request.node,
                };
                self.judge_answer(attempt, slot, answer, effects);
            }
        }
        // A broker must answer for every partition; what it left out is as good as lost.
        for slot in request.slots {
            self.lose(now, slot, id, true, effects);
        }
    }

    fn judge_answer(&mut self, attempt: Attempt, slot: usize, answer: PartitionAnswer, effects: &mut Vec<Effect<T>>) {
        let (config, now) = (self.config, attempt.now);
        let queue = &mut self.queues[slot];
        let Some(index) = queue.sent_with(attempt.id) else {
            return;
        };
        let flight = &mut queue.flights[index];
        flight.last = Some(answer.code);
        let mut refresh_wanted = false;
        match judge(answer.code, config.acks) {
            Verdict::Written => {
                queue.written_at = Some(now);
                let written = Written {
                    base_offset: answer.base_offset,
                    append_time: answer.append_time,
                };
                if let Some(flight) = queue.flights.remove(index) {
                    effects.push(flight.meta.complete(Ok(written)));
                }
            }
            Verdict::Retry { refresh, unknown } if config.guarantee == Guarantee::AtMostOnce && unknown => {
                refresh_wanted = refresh;
                let failure = refused(&answer, error::Effect::Possible);
                queue.fail(index, failure, effects);
            }
            Verdict::Retry { refresh, unknown } => {
                refresh_wanted = refresh;
                flight.unknown |= unknown;
                flight.place = Place::Due;
                queue.retry_at = queue.retry_at.max(now + queue.patience(attempt, config.retry_backoff));
            }
            Verdict::OutOfOrder | Verdict::IdentityLost if config.guarantee != Guarantee::Idempotent => {
                queue.fail(index, refused(&answer, error::Effect::Possible), effects);
            }
            verdict @ (Verdict::OutOfOrder | Verdict::IdentityLost) => {
                queue.sequence_refused((index, verdict), &answer, now, effects);
            }
            Verdict::Refused(effect) => {
                let effect = if flight.unknown {
                    error::Effect::Possible
                } else {
                    effect
                };
                queue.fail(index, refused(&answer, effect), effects);
            }
        }
        if refresh_wanted {
            self.refresh(now, effects);
        }
    }

    pub(super) fn lost(&mut self, now: Moment, id: RequestId, sent: bool, effects: &mut Vec<Effect<T>>) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let node = self.node(request.node);
        node.in_flight = node.in_flight.saturating_sub(1);
        // The connection is gone as a whole. The next dial tells whether the broker is, too.
        if node.link == Link::Up {
            node.link = Link::Down { retry_at: now };
        }
        for slot in request.slots {
            self.lose(now, slot, id, sent, effects);
        }
        self.refresh(now, effects);
    }

    fn lose(&mut self, now: Moment, slot: usize, id: RequestId, sent: bool, effects: &mut Vec<Effect<T>>) {
        let queue = &mut self.queues[slot];
        let Some(index) = queue.sent_with(id) else { return };
        if sent && self.config.guarantee == Guarantee::AtMostOnce {
            queue.fail(index, ProduceError::ConnectionLost, effects);
            return;
        }
        let flight = &mut queue.flights[index];
        flight.unknown |= sent;
        flight.last = Some(ErrorCode::NetworkException);
        flight.place = Place::Due;
        queue.retry_at = queue.retry_at.max(now);
    }

    pub(super) fn impossible(&mut self, id: RequestId, error: &ProduceError, effects: &mut Vec<Effect<T>>) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let node = self.node(request.node);
        node.in_flight = node.in_flight.saturating_sub(1);
        for slot in request.slots {
            let queue = &mut self.queues[slot];
            if let Some(index) = queue.sent_with(id) {
                queue.flights[index].place = Place::Due;
                queue.fail(index, error.clone(), effects);
            }
        }
    }
}

fn refused(answer: &PartitionAnswer, effect: error::Effect) -> ProduceError {
    ProduceError::Refused {
        code: answer.code,
        message: answer.message.clone(),
        effect,
    }
}

impl<T> Queue<T> {
    /// How long to wait after a refusal. Nothing, if another leader is known already. One that was just chosen may hear of
    /// it a moment after we did: it is asked again after as long as we have known it.
    fn patience(&self, attempt: Attempt, retry_backoff: Duration) -> Duration {
        if self.leader.is_some_and(|leader| leader != attempt.node) {
            return Duration::ZERO;
        }
        attempt.now.since(self.moved_at).max(RETRY_FIRST).min(retry_backoff)
    }

    fn sent_with(&self, id: RequestId) -> Option<usize> {
        let sent = |flight: &Flight<T>| matches!(flight.place, Place::Sent { id: other, .. } if other == id);
        self.flights.iter().position(sent)
    }

    /// Ends a flight that has been answered.
    fn fail(&mut self, index: usize, failure: ProduceError, effects: &mut Vec<Effect<T>>) {
        if let Some(flight) = self.flights.get_mut(index) {
            flight.unknown |= failure.may_have_had_effect();
            flight.place = Place::Due;
        }
        if let Some(flight) = self.give_up(index) {
            effects.push(flight.meta.complete(Err(failure)));
        }
    }

    /// The broker misses what came before the batch, or does not know its producer.
    fn sequence_refused(
        &mut self,
        (index, verdict): (usize, Verdict),
        answer: &PartitionAnswer,
        now: Moment,
        effects: &mut Vec<Effect<T>>,
    ) {
        let flight = &mut self.flights[index];
        let first = matches!(flight.place, Place::Sent { first: true, .. });
        if verdict == Verdict::IdentityLost {
            self.broken = true;
            self.identity_lost = true;
            self.put_back_or_fail(index, effects);
        } else if self.broken {
            self.put_back_or_fail(index, effects);
        } else if !first {
            // It came before one that it must follow; both are sent again, in order.
            flight.place = Place::Due;
            self.retry_at = self.retry_at.max(now);
        } else {
            // Nothing is missing on our side, so the broker has lost what it acknowledged. That is not for us to hide.
            let effect = if flight.unknown {
                error::Effect::Possible
            } else {
                error::Effect::None
            };
            self.broken = true;
            self.fail(index, refused(answer, effect), effects);
        }
    }

    /// In a broken partition: keeps what is certain not to be written for another identity, and fails the rest.
    fn put_back_or_fail(&mut self, index: usize, effects: &mut Vec<Effect<T>>) {
        let Some(flight) = self.flights.get_mut(index) else {
            return;
        };
        if flight.unknown {
            self.fail(index, ProduceError::EarlierBatchFailed, effects);
        } else {
            flight.place = Place::PutBack;
        }
    }
}
