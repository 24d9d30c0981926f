//! Offsets on their way to the coordinator. One commit after another, so that an older one never overtakes a newer one;
//! each is repeated until it is stored, refused, or out of time. Of a commit that is refused in part the rest goes on.
//!
//! A commit speaks for the generation in which it was asked for. In a later one it is sent only if this member still owns
//! all of its partitions: what another owns now is not overwritten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, Moment};

use super::coordinator::is_elsewhere;
use super::words::refused;
use super::{Answer, Call, Core, Effect, Identity, Settled};
use crate::consumer::group::config::GroupProtocol;
use crate::consumer::group::error::{CommitError, GroupError};
use crate::consumer::group::listener::CommittedOffset;
use crate::consumer::record::TopicPartition;
use crate::error::RequestError;
use crate::net::backoff::Backoff;

/// So many commits may wait; one more is refused. They are short-lived, and a program that waits has one.
const WAITING_MAX: usize = 1000;
/// How soon an auto commit that could not be made is tried again.
const AUTO_RETRY_BACKOFFS: u32 = 5;
/// A topic that was made a moment ago is known to the coordinator by then. One that it does not know later is gone.
const UNKNOWN_TOPIC_MAX: Duration = Duration::from_secs(1);
/// How soon it is asked again whether it knows the topic.
const UNKNOWN_TOPIC_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Commit {
    /// None: an auto commit.
    waiter: Option<u64>,
    offsets: BTreeMap<TopicPartition, CommittedOffset>,
    asked_at: Moment,
    generation: i32,
    cause: Option<Arc<RequestError>>,
    /// Since when the coordinator does not know one of its topics.
    unknown_since: Option<Moment>,
    /// A partition that was refused while others still wait.
    refused: Option<CommitError>,
}

#[derive(Debug)]
pub(super) struct Commits {
    queue: VecDeque<Commit>,
    /// The first of the queue is under way under this id.
    asked: Option<(u64, Identity)>,
    retry_at: Moment,
    backoff: Backoff,
}

impl Commits {
    pub fn new(backoff: Backoff) -> Commits {
        Commits {
            queue: VecDeque::new(),
            asked: None,
            retry_at: Moment::default(),
            backoff,
        }
    }

    /// Nobody will answer the one under way: it is sent again.
    pub fn abandon(&mut self) {
        self.asked = None;
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn waits_for(&self, id: u64) -> bool {
        self.asked.as_ref().is_some_and(|(asked, _)| *asked == id)
    }
}

/// What an answer means for the commit as a whole.
enum Verdict {
    /// Nothing is left to send.
    Done,
    Again,
    Refused(CommitError),
}

impl Core {
    /// As whom offsets are committed and asked for; outside of a group if nothing is subscribed to.
    pub(super) fn identity(&self) -> Result<Identity, CommitError> {
        if let Some(failure) = &self.failure {
            return Err(CommitError::Group(failure.clone()));
        }
        match self.config.protocol {
            _ if self.subscription.is_none() => Ok(Identity {
                generation: -1,
                ..Identity::default()
            }),
            GroupProtocol::Classic => self.committing_classic(),
            GroupProtocol::Consumer => self.committing_consumer(),
        }
    }

    pub(super) fn commit(
        &mut self,
        now: Moment,
        waiter: Option<u64>,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    ) {
        if offsets.is_empty() && self.commits.is_empty() {
            return self.committed(waiter, Ok(()));
        }
        let identity = match self.identity() {
            // Nothing to store; but it tells when all that was asked for before is done.
            _ if offsets.is_empty() => Identity::default(),
            Err(refusal) => return self.committed(waiter, Err(refusal)),
            Ok(identity) => identity,
        };
        if self.commits.queue.len() >= WAITING_MAX {
            let (waited, cause) = (Duration::ZERO, None);
            return self.committed(waiter, Err(CommitError::Unavailable { waited, cause }));
        }
        self.commits.queue.push_back(Commit {
            waiter,
            offsets,
            asked_at: now,
            generation: identity.generation,
            cause: None,
            unknown_since: None,
            refused: None,
        });
    }

    pub(super) fn auto_commit(&mut self, now: Moment, mut offsets: BTreeMap<TopicPartition, CommittedOffset>) {
        if self.subscription.is_some() {
            offsets.retain(|key, _| self.owned.contains(key));
        }
        if !offsets.is_empty() {
            self.commit(now, None, offsets);
        }
    }

    /// Asks for what is to be committed, now and then.
    pub(super) fn drive_auto_commit(&mut self, now: Moment) {
        let Some(interval) = self.config.auto_commit_interval.filter(|_| !self.idle) else {
            return;
        };
        if self.auto_commit_at > now {
            return self.wake_at(self.auto_commit_at);
        }
        let possible = self.identity().is_ok() && self.commits.queue.iter().all(|commit| commit.waiter.is_some());
        let pause = if possible {
            interval
        } else {
            self.config.retry_backoff * AUTO_RETRY_BACKOFFS
        };
        self.auto_commit_at = now + pause.max(self.config.retry_backoff);
        self.wake_at(self.auto_commit_at);
        if possible {
            self.out.push(Effect::CommitProcessed);
        }
    }

    pub(super) fn drive_commits(&mut self, now: Moment) {
        self.drop_late_commits(now);
        while self.commits.asked.is_none() {
            let Some(first) = self.commits.queue.front() else {
                return;
            };
            if first.offsets.is_empty() {
                self.commit_done(Ok(()));
                continue;
            }
            let identity = match self.identity() {
                Ok(identity) if self.may_still_commit(first, &identity) => identity,
                Ok(_) => {
                    self.commit_done(Err(CommitError::RebalanceInProgress));
                    continue;
                }
                Err(refusal) => {
                    self.commit_done(Err(refusal));
                    continue;
                }
            };
            let Some(node) = self.coordinator.node() else { return };
            if self.commits.retry_at > now {
                return self.wake_at(self.commits.retry_at);
            }
            let call = Call::Commit {
                identity: identity.clone(),
                offsets: first.offsets.clone(),
            };
            let id = self.send(now, Some(node), call);
            self.commits.asked = Some((id, identity));
        }
    }

    fn may_still_commit(&self, commit: &Commit, identity: &Identity) -> bool {
        commit.generation == identity.generation || commit.offsets.keys().all(|key| self.owned.contains(key))
    }

    fn drop_late_commits(&mut self, now: Moment) {
        let allowed = self.config.api_timeout;
        while let Some(first) = self.commits.queue.front() {
            let due = first.asked_at + allowed;
            if due > now {
                return self.wake_at(due);
            }
            let cause = first.cause.clone();
            self.commits.asked = None;
            self.commit_done(Err(CommitError::Unavailable { waited: allowed, cause }));
        }
    }

    pub(super) fn commit_answered(&mut self, now: Moment, outcome: Result<Answer, Arc<RequestError>>) {
        let Some((_, identity)) = self.commits.asked.take() else {
            return;
        };
        let verdict = match outcome {
            Ok(Answer::Committed(parts)) => self.judge_commit(now, &identity, &parts),
            Ok(_) => Verdict::Again,
            Err(cause) if self.unanswered(now, &cause) => {
                if let Some(first) = self.commits.queue.front_mut() {
                    first.cause = Some(cause);
                }
                Verdict::Again
            }
            Err(cause) => Verdict::Refused(CommitError::Group(GroupError::Request(cause))),
        };
        match verdict {
            Verdict::Done => {
                self.commits.backoff.reset();
                let refused = self.commits.queue.front_mut().and_then(|first| first.refused.take());
                self.commit_done(refused.map_or(Ok(()), Err));
            }
            Verdict::Again => {
                let mut pause = self.commits.backoff.next();
                let first = self.commits.queue.front();
                if first.is_some_and(|first| first.unknown_since.is_some()) {
                    pause = pause.max(UNKNOWN_TOPIC_PAUSE);
                }
                self.commits.retry_at = now + pause;
            }
            Verdict::Refused(refusal) => self.commit_done(Err(refusal)),
        }
    }

    /// Code by code as Kafka's own consumer takes them. What concerns the member ends the commit; of the rest only the
    /// partitions that have to be are sent again.
    fn judge_commit(&mut self, now: Moment, identity: &Identity, parts: &[(TopicPartition, ErrorCode)]) -> Verdict {
        let mut again = BTreeSet::new();
        let current = self.identity().is_ok_and(|current| current == *identity);
        for (key, code) in parts {
            match *code {
                ErrorCode::None => {}
                code if is_elsewhere(code) || code == ErrorCode::RequestTimedOut => {
                    self.lose_coordinator(now);
                    return Verdict::Again;
                }
                ErrorCode::StaleMemberEpoch if self.owned.contains(key) => {
                    self.reconciler.beat_soon();
                    again.insert(key);
                }
                ErrorCode::StaleMemberEpoch => return Verdict::Refused(CommitError::NotMember),
                ErrorCode::RebalanceInProgress => {
                    if current {
                        self.rejoin_soon("offsets were committed while the group rebalances");
                    }
                    return Verdict::Refused(CommitError::RebalanceInProgress);
                }
                ErrorCode::FencedInstanceId if identity.generation >= 0 && current => {
                    self.refuse(ErrorCode::FencedInstanceId);
                    return Verdict::Refused(CommitError::NotMember);
                }
                ErrorCode::UnknownMemberId
                | ErrorCode::IllegalGeneration
                | ErrorCode::FencedMemberEpoch
                | ErrorCode::GroupIdNotFound
                    if identity.generation >= 0 =>
                {
                    return Verdict::Refused(self.fallen_out(now, current, *code));
                }
                ErrorCode::GroupAuthorizationFailed => {
                    return Verdict::Refused(CommitError::Group(refused(*code, "")));
                }
                code @ ErrorCode::UnknownTopicOrPartition if self.stays_unknown(now, key) => {
                    self.refuse_part(key, code);
                }
                code if code.is_retriable() => {
                    again.insert(key);
                }
                code => self.refuse_part(key, code),
            }
        }
        let Some(first) = self.commits.queue.front_mut() else {
            return Verdict::Done;
        };
        first.offsets.retain(|key, _| again.contains(key));
        if first.offsets.is_empty() {
            Verdict::Done
        } else {
            Verdict::Again
        }
    }

    /// Whether it makes no sense to wait until the coordinator knows the topic: the picture of the cluster says that it
    /// is gone, or it was waited for already.
    fn stays_unknown(&mut self, now: Moment, key: &TopicPartition) -> bool {
        let topic = self.cluster.topics.get(&key.topic);
        if topic.is_some_and(|topic| topic.error == Some(ErrorCode::UnknownTopicOrPartition)) {
            return true;
        }
        let Some(first) = self.commits.queue.front_mut() else {
            return true;
        };
        if first.unknown_since.is_none() {
            self.out.push(Effect::Refresh);
        }
        now >= *first.unknown_since.get_or_insert(now) + UNKNOWN_TOPIC_MAX
    }

    /// The first refusal is told; but not that of a topic that is gone, if there is another.
    fn refuse_part(&mut self, partition: &TopicPartition, code: ErrorCode) {
        let Some(first) = self.commits.queue.front_mut() else {
            return;
        };
        if first.waiter.is_none() {
            tracing::info!(%partition, %code, "an offset is not committed");
        }
        if first.refused.as_ref().is_none_or(CommitError::is_of_unknown_topic) {
            let partition = partition.clone();
            first.refused = Some(CommitError::Refused { partition, code });
        }
    }

    /// The coordinator does not know the member that committed. If that member has moved on, nothing is lost.
    fn fallen_out(&mut self, now: Moment, current: bool, code: ErrorCode) -> CommitError {
        if !current {
            return CommitError::RebalanceInProgress;
        }
        match self.config.protocol {
            GroupProtocol::Classic => self.start_over(now, code),
            // A heartbeat finds out the same, and what to do about it.
            GroupProtocol::Consumer => self.reconciler.beat_soon(),
        }
        CommitError::NotMember
    }

    fn commit_done(&mut self, outcome: Result<(), CommitError>) {
        if let Some(first) = self.commits.queue.pop_front() {
            self.committed(first.waiter, outcome);
        }
    }

    fn committed(&mut self, waiter: Option<u64>, outcome: Result<(), CommitError>) {
        match (waiter, outcome) {
            (Some(waiter), outcome) => self.settle(waiter, Settled::Committed(outcome)),
            // What was refused is in the log already.
            (None, Ok(()) | Err(CommitError::Refused { .. })) => {}
            (None, Err(failure)) => {
                tracing::info!(error = %failure, "an auto commit failed; the next one has all of it")
            }
        }
    }

    pub(super) fn refuse_commits(&mut self, refusal: &CommitError) {
        self.commits.asked = None;
        while !self.commits.is_empty() {
            self.commit_done(Err(refusal.clone()));
        }
    }
}
