//! A shard that serves: decisions are taken in rounds, and answers wait for the log.
//!
//! ```text
//!  call* | tick | topics ──► decide, apply ──► end_round ──► one batch to append ··· committed ──► answers
//! ```
//!
//! Decisions are applied at once. What a round writes goes to the log as one batch. An answer waits for the commit of
//! all that was appended before it, also one that wrote nothing: it rests on state that may yet be lost. Whoever has
//! waited for too long is told that nobody knows, and the answers behind still wait. A refused append ends the shard:
//! what it has applied is not in the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{ErrorCode, Moment, Timestamp};

use crate::call::{Call, CallId};
use crate::change::Change;
use crate::history;
use crate::reply::Reply;
use crate::settings::Settings;
use crate::shard::{At, Event, Shard, TopicsAge};
use crate::topics::Topics;

/// Bounds and times of a shard that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A round with so many bytes takes no further call.
    pub round_bytes_max: usize,
    /// A decision whose records need more is not taken.
    pub decision_bytes_max: usize,
    /// Rounds whose commit is waited for; further calls wait outside.
    pub waiting_max: usize,
    /// `offsets.commit.timeout.ms`: so long does a caller wait for a commit.
    pub commit_timeout: Duration,
    /// Whoever finds its own clock so late has slept, and judges nobody's silence by it.
    pub late_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            round_bytes_max: 256 << 10,
            decision_bytes_max: 16 << 20,
            waiting_max: 64,
            commit_timeout: Duration::from_secs(5),
            late_max: Duration::from_millis(500),
        }
    }
}

/// What a caller hears.
pub type Answer = (CallId, Result<Reply, ErrorCode>);

/// A record as the log takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub timestamp: Timestamp,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Tells appends apart; rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId(pub u64);

/// To be appended as one batch; what becomes of it is told by [`Serving::committed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub commit: CommitId,
    pub records: Vec<LogRecord>,
}

/// What callers and the histories of groups are to be told now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub answers: Vec<Answer>,
    pub history: Vec<history::Entry>,
}

/// An append was refused: nobody may be served from this shard any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: ErrorCode,
    /// Of those who waited for it; all others find no coordinator here.
    pub answers: Vec<Answer>,
}

/// A decision that needs a record which cannot be written. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    #[error("encoding a record of a group")]
    Encode(#[from] klamm_wire::EncodeError),
    #[error("the records of a decision take more than {max} bytes")]
    TooLarge { max: usize },
}

/// What a tick did.
#[derive(Debug)]
pub struct Ticked {
    pub changes: Vec<Change>,
    /// It came so late that the waits of all groups began anew.
    pub was_late: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Serving {
    shard: Shard,
    limits: Limits,
    round: Round,
    last_commit: CommitId,
    /// In the order of the appends.
    waiting: VecDeque<Waiting>,
}

/// Decisions whose records are not appended yet.
#[derive(Debug, Default)]
struct Round {
    records: Vec<LogRecord>,
    bytes: usize,
    answers: Vec<Answer>,
    history: Vec<history::Entry>,
}

/// Who waits for a commit.
#[derive(Debug)]
struct Waiting {
    commit: CommitId,
    until: Moment,
    /// Empty once they have been told that nobody knows.
    answers: Vec<Answer>,
    history: Vec<history::Entry>,
}

impl Serving {
    /// Of a shard that has loaded and started.
    pub fn new(shard: Shard, limits: Limits) -> Serving {
        Serving {
            shard,
            limits,
            round: Round::default(),
            last_commit: CommitId::default(),
            waiting: VecDeque::new(),
        }
    }

    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Whether a call may begin a round.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.limits.waiting_max
    }

    /// Whether the round takes no further call.
    pub fn round_is_full(&self) -> bool {
        self.round.bytes >= self.limits.round_bytes_max
    }

    /// A call, in the round that is open. The changes are for whoever watches.
    ///
    /// # Errors
    /// The call leads to a record that cannot be written, such as one with a name longer than its schema holds: the
    /// caller's fault, and its answer says so.
    pub fn call(&mut self, at: At, id: CallId, call: Call) -> Result<Vec<Change>, Unwritable> {
        let decided = self.decide(at, Event::Call(id, call));
        if decided.is_err() {
            self.round.answers.push((id, Err(ErrorCode::UnknownServerError)));
        }
        decided
    }

    /// The time that [`Shard::next_deadline`] named has come.
    ///
    /// # Errors
    /// A record cannot be written: the shard must be dropped.
    pub fn tick(&mut self, at: At) -> Result<Ticked, Unwritable> {
        let was_late = self.shard.late_by(at.moment) > self.limits.late_max;
        if was_late {
            self.shard.restart_waits(at);
        }
        let changes = self.decide(at, Event::Tick)?;
        self.shard.ticked(at);
        Ok(Ticked { changes, was_late })
    }

    /// Other settings and topics.
    ///
    /// # Errors
    /// A record cannot be written: the shard must be dropped.
    pub fn surroundings_changed(
        &mut self,
        at: At,
        settings: Arc<Settings>,
        topics: Arc<Topics>,
        age: TopicsAge,
    ) -> Result<Vec<Change>, Unwritable> {
        self.shard.set_settings(settings);
        self.shard.set_topics(topics, age);
        self.decide(at, Event::TopicsChanged)
    }

    fn decide(&mut self, at: At, event: Event) -> Result<Vec<Change>, Unwritable> {
        let decision = self.shard.decide(at, event);
        let (records, bytes) = self.encoded(at.wall, &decision.changes)?;
        self.shard.apply(at, &decision.changes);
        self.round.records.extend(records);
        self.round.bytes += bytes;
        let answers = decision.replies.into_iter().map(|(call, reply)| (call, Ok(reply)));
        self.round.answers.extend(answers);
        self.round.history.extend(decision.history);
        Ok(decision.changes)
    }

    /// The records among the changes, and their bytes.
    fn encoded(&self, timestamp: Timestamp, changes: &[Change]) -> Result<(Vec<LogRecord>, usize), Unwritable> {
        let max = self.limits.decision_bytes_max;
        let (mut records, mut bytes) = (Vec::new(), 0);
        for change in changes {
            let Change::Record(record) = change else { continue };
            let (key, value) = record.to_bytes()?;
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            if bytes > max {
                return Err(Unwritable::TooLarge { max });
            }
            records.push(LogRecord { timestamp, key, value });
        }
        Ok((records, bytes))
    }

    /// Ends the round: what it wrote is to be appended, and its answers wait for what was appended so far.
    pub fn end_round(&mut self, now: Moment) -> (Told, Option<Append>) {
        let Round {
            records,
            answers,
            mut history,
            ..
        } = std::mem::take(&mut self.round);
        let mut told = Told::default();
        let writes = !records.is_empty();
        if writes {
            self.last_commit = CommitId(self.last_commit.0 + 1);
        } else {
            // Nothing of it can be refused.
            told.history = std::mem::take(&mut history);
        }
        let waits = writes || !self.waiting.is_empty();
        if !waits || is_planted(Bug::AnswerBeforeCommit) {
            told.answers = answers;
        } else if writes || !answers.is_empty() {
            self.waiting.push_back(Waiting {
                commit: self.last_commit,
                until: now + self.limits.commit_timeout,
                answers,
                history,
            });
        }
        let append = writes.then_some(Append {
            commit: self.last_commit,
            records,
        });
        (told, append)
    }

    /// What has become of an append: committed with all before it, or refused.
    ///
    /// # Errors
    /// It was refused. Appended or not: the next shard loads what the log says.
    pub fn committed(&mut self, commit: CommitId, outcome: Result<(), ErrorCode>) -> Result<Told, Refused> {
        match outcome {
            Ok(()) => {
                let mut told = Told::default();
                while let Some(waiting) = self.waiting.pop_front_if(|first| first.commit <= commit) {
                    told.answers.extend(waiting.answers);
                    told.history.extend(waiting.history);
                }
                Ok(told)
            }
            Err(code) => {
                let for_callers = code_for_callers(code);
                // Appends before it may yet be committed.
                let refused = self.waiting.drain(..).filter(|waiting| waiting.commit == commit);
                let callers = refused.flat_map(|waiting| waiting.answers);
                let answers = callers.map(|(call, _)| (call, Err(for_callers))).collect();
                Err(Refused { code, answers })
            }
        }
    }

    /// When the next caller has waited for too long.
    pub fn patience_ends(&self) -> Option<Moment> {
        let mut waiting = self.waiting.iter();
        waiting
            .find(|waiting| !waiting.answers.is_empty())
            .map(|first| first.until)
    }

    /// Tells those who have waited for too long. What they asked for may yet be committed; the state stays, and so does
    /// the wait of everybody behind.
    pub fn tell_the_impatient(&mut self, now: Moment) -> Vec<Answer> {
        let mut told = Vec::new();
        for waiting in self.waiting.iter_mut().take_while(|waiting| waiting.until <= now) {
            let callers = std::mem::take(&mut waiting.answers).into_iter();
            told.extend(callers.map(|(call, _)| (call, Err(ErrorCode::CoordinatorNotAvailable))));
        }
        told
    }
}

/// What a refused append means to a client: ask again, find the coordinator again, or give up.
fn code_for_callers(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut
        | ErrorCode::ThrottlingQuotaExceeded => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        _ => ErrorCode::UnknownServerError,
    }
}

#[cfg(test)]
mod serving_test;
