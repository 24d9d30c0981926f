//! Committed offsets that somebody wants to know: partitions that begin, and the program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use klamm_types::{ErrorCode, Moment};

use super::coordinator::is_elsewhere;
use super::words::refused;
use super::{Answer, Begin, Call, Core, Effect, Identity, Settled};
use crate::consumer::group::config::GroupProtocol;
use crate::consumer::group::error::{CommitError, GroupError};
use crate::consumer::group::listener::CommittedOffset;
use crate::consumer::record::TopicPartition;
use crate::error::RequestError;
use crate::net::backoff::Backoff;

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Partitions that are read from there on. Asked until answered.
    Begin,
    Program(u64),
}

#[derive(Debug)]
pub(super) struct Question {
    pub key: u64,
    pub who: Who,
    pub partitions: BTreeSet<TopicPartition>,
    pub asked: Option<u64>,
    asked_at: Moment,
    retry_at: Moment,
    backoff: Backoff,
    cause: Option<Arc<RequestError>>,
}

type Part = (TopicPartition, ErrorCode, Option<CommittedOffset>);

impl Core {
    pub(super) fn ask(&mut self, now: Moment, who: Who, partitions: BTreeSet<TopicPartition>) {
        let key = self.next_id();
        self.questions.push(Question {
            key,
            who,
            partitions,
            asked: None,
            asked_at: now,
            retry_at: Moment::default(),
            backoff: self.new_backoff(),
            cause: None,
        });
    }

    /// Nobody wants to know any more where these begin.
    pub(super) fn forget_questions(&mut self, partitions: &BTreeSet<TopicPartition>) {
        for question in self.questions.iter_mut().filter(|question| question.who == Who::Begin) {
            question.partitions.retain(|key| !partitions.contains(key));
        }
        self.questions.retain(|question| !question.partitions.is_empty());
    }

    pub(super) fn drive_questions(&mut self, now: Moment) {
        self.drop_late_questions(now);
        let Some(node) = self.coordinator.node() else { return };
        // Only members of a KIP-848 group are asked who they are.
        let identity = match self.config.protocol {
            GroupProtocol::Consumer if self.reconciler.epoch > 0 => self.committing_consumer().unwrap_or_default(),
            _ => Identity {
                generation: -1,
                ..Identity::default()
            },
        };
        for index in 0..self.questions.len() {
            let question = &self.questions[index];
            if question.asked.is_some() {
                continue;
            }
            if question.retry_at > now {
                let retry_at = question.retry_at;
                self.wake_at(retry_at);
                continue;
            }
            let call = Call::Committed {
                identity: identity.clone(),
                partitions: question.partitions.clone(),
            };
            let id = self.send(now, Some(node), call);
            self.questions[index].asked = Some(id);
        }
    }

    fn drop_late_questions(&mut self, now: Moment) {
        let allowed = self.config.api_timeout;
        let mut index = 0;
        while index < self.questions.len() {
            let question = &self.questions[index];
            let (due, who, cause) = (question.asked_at + allowed, question.who, question.cause.clone());
            match who {
                Who::Program(waiter) if due <= now => {
                    self.questions.remove(index);
                    let late = CommitError::Unavailable { waited: allowed, cause };
                    self.settle(waiter, Settled::Offsets(Err(late)));
                    continue;
                }
                Who::Program(_) => self.wake_at(due),
                Who::Begin => {}
            }
            index += 1;
        }
    }

    pub(super) fn question_answered(&mut self, now: Moment, key: u64, outcome: Result<Answer, Arc<RequestError>>) {
        let again = |core: &mut Core, cause| {
            if let Some(question) = core.questions.iter_mut().find(|question| question.key == key) {
                (question.retry_at, question.cause) = (now + question.backoff.next(), cause);
            }
        };
        let (code, parts) = match outcome {
            Ok(Answer::Offsets { code, parts }) => (code, parts),
            Ok(_) => return again(self, None),
            Err(cause) if self.unanswered(now, &cause) => return again(self, Some(cause)),
            Err(cause) => return self.refuse_question(key, GroupError::Request(cause)),
        };
        match code {
            ErrorCode::None => {}
            code if is_elsewhere(code) => {
                self.lose_coordinator(now);
                return again(self, None);
            }
            // The next heartbeat brings the epoch that is right, or a new beginning.
            ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId => {
                self.reconciler.beat_soon();
                return again(self, None);
            }
            code if code.is_retriable() => return again(self, None),
            code => return self.refuse_question(key, refused(code, "")),
        }
        let Some(index) = self.questions.iter().position(|question| question.key == key) else {
            return;
        };
        match self.questions[index].who {
            Who::Begin => self.begin(index, parts),
            Who::Program(waiter) => self.tell(index, waiter, parts),
        }
        if let Some(question) = self.questions.iter_mut().find(|question| question.key == key) {
            question.retry_at = now + question.backoff.next();
        }
    }

    /// Those whose offset may still change (88, an open transaction) stay, and are asked for again.
    fn begin(&mut self, index: usize, parts: Vec<Part>) {
        let question = &mut self.questions[index];
        let mut begun = Vec::new();
        for (key, code, offset) in parts {
            if code.is_retriable() || code == ErrorCode::UnstableOffsetCommit || !question.partitions.remove(&key) {
                continue;
            }
            let begin = match (code, offset) {
                (ErrorCode::None, Some(committed)) => Begin::At {
                    offset: committed.offset,
                    epoch: committed.leader_epoch,
                },
                (ErrorCode::None, None) => Begin::Nothing,
                (code, _) => Begin::Refused(code),
            };
            begun.push((key, begin));
        }
        if question.partitions.is_empty() {
            self.questions.remove(index);
        }
        if !begun.is_empty() {
            self.out.push(Effect::Begin(begun));
        }
    }

    fn tell(&mut self, index: usize, waiter: u64, parts: Vec<Part>) {
        let wait = |code: ErrorCode| code.is_retriable() || code == ErrorCode::UnstableOffsetCommit;
        let refused = parts.iter().find(|(_, code, _)| code.is_error() && !wait(*code));
        let outcome = match refused {
            Some((partition, code, _)) => Err(CommitError::Refused {
                partition: partition.clone(),
                code: *code,
            }),
            None if parts.iter().any(|(_, code, _)| wait(*code)) => return,
            None => {
                let known = parts.into_iter().filter_map(|(key, _, offset)| Some((key, offset?)));
                Ok(known.collect::<BTreeMap<_, _>>())
            }
        };
        self.questions.remove(index);
        self.settle(waiter, Settled::Offsets(outcome));
    }

    fn refuse_question(&mut self, key: u64, failure: GroupError) {
        let Some(index) = self.questions.iter().position(|question| question.key == key) else {
            return;
        };
        match self.questions.remove(index).who {
            Who::Begin => self.fail(failure),
            Who::Program(waiter) => self.settle(waiter, Settled::Offsets(Err(CommitError::Group(failure)))),
        }
    }

    pub(super) fn refuse_questions(&mut self, refusal: &CommitError) {
        for question in std::mem::take(&mut self.questions) {
            if let Who::Program(waiter) = question.who {
                self.settle(waiter, Settled::Offsets(Err(refusal.clone())));
            }
        }
    }
}
