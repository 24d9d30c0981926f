//! Which broker coordinates the group. Asked of any broker, and again whenever one says it is not the one any more, or
//! does not answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_types::{ErrorCode, Moment, NodeId};

use super::goodbye::Goodbye;
use super::words::refused;
use super::{Answer, Call, Core, Effect};
use crate::consumer::group::error::{CommitError, GroupError};
use crate::error::RequestError;
use crate::net::backoff::Backoff;

#[derive(Debug)]
pub(super) struct Coordinator {
    node: Option<NodeId>,
    asked: Option<u64>,
    retry_at: Moment,
    /// A broker that was found is none yet: only one that does what it is asked is.
    backoff: Backoff,
    /// When it was sent what it has not answered.
    sent: BTreeMap<u64, Moment>,
}

impl Coordinator {
    pub fn new(backoff: Backoff) -> Coordinator {
        Coordinator {
            node: None,
            asked: None,
            retry_at: Moment::default(),
            backoff,
            sent: BTreeMap::new(),
        }
    }

    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub fn waits_for(&self, id: u64) -> bool {
        self.asked == Some(id)
    }

    pub fn sent(&mut self, now: Moment, id: u64) {
        self.sent.insert(id, now);
    }

    /// When it was sent the oldest request that it has not answered.
    pub fn silent_since(&self) -> Option<Moment> {
        self.sent.first_key_value().map(|(_, sent)| *sent)
    }

    /// It has answered, unless it is another one by now.
    pub fn answered(&mut self, id: u64, outcome: Result<&Answer, &Arc<RequestError>>) {
        let asked = self.sent.remove(&id).is_some();
        if asked && outcome.is_ok_and(has_served) {
            self.backoff.reset();
        }
    }
}

/// Whether a coordinator did what it was asked.
fn has_served(answer: &Answer) -> bool {
    let code = match answer {
        Answer::Joined(answer) => answer.code,
        Answer::Synced { code, .. } | Answer::Heartbeat(code) | Answer::Left(code) | Answer::Offsets { code, .. } => {
            *code
        }
        Answer::ConsumerHeartbeat(answer) => answer.code,
        Answer::Committed(parts) => return parts.iter().all(|(_, code)| *code == ErrorCode::None),
        Answer::Coordinator { .. } | Answer::Topics(_) => return false,
    };
    matches!(
        code,
        ErrorCode::None | ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress
    )
}

/// What a coordinator's code says about the coordinator itself.
pub(super) fn is_elsewhere(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
}

impl Core {
    pub(super) fn look_for_coordinator(&mut self, now: Moment) {
        let member = self.subscription.is_some() && !self.idle && self.failure.is_none();
        let needed = member || !self.commits.is_empty() || !self.questions.is_empty() || !self.goodbyes.is_empty();
        if !needed || self.coordinator.node.is_some() || self.coordinator.asked.is_some() {
            return;
        }
        if self.coordinator.retry_at > now {
            return self.wake_at(self.coordinator.retry_at);
        }
        self.coordinator.asked = Some(self.send(now, None, Call::FindCoordinator));
    }

    pub(super) fn found_coordinator(&mut self, now: Moment, code: ErrorCode, node: NodeId, message: &str) {
        self.coordinator.asked = None;
        match code {
            ErrorCode::None => {
                self.coordinator.node = Some(node);
                if !self.cluster.brokers.contains_key(&node) {
                    self.out.push(Effect::Refresh);
                }
            }
            code if code.is_retriable() || code == ErrorCode::UnknownServerError => self.lose_coordinator(now),
            code => self.give_up(refused(code, message)),
        }
    }

    /// It has to be found again, after a pause. What it was asked is asked of the next one; nobody waits any more for
    /// its own answers, which a machine without power never gives.
    pub(super) fn lose_coordinator(&mut self, now: Moment) {
        self.coordinator.node = None;
        self.coordinator.asked = None;
        self.coordinator.retry_at = now + self.coordinator.backoff.next();
        self.coordinator.sent.clear();
        self.out.push(Effect::Refresh);
        self.commits.abandon();
        self.questions.iter_mut().for_each(|question| question.asked = None);
        self.goodbyes.iter_mut().for_each(Goodbye::abandon);
        self.abandon_classic();
        self.reconciler.abandon();
    }

    /// The group itself is refused: nobody gets an answer.
    pub(super) fn give_up(&mut self, failure: GroupError) {
        self.refuse_commits(&CommitError::Group(failure.clone()));
        self.refuse_questions(&CommitError::Group(failure.clone()));
        self.forget_goodbyes();
        if self.subscription.is_some() {
            self.fail(failure);
        }
    }
}
