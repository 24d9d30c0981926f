//! Which broker coordinates the group. Asked of any broker, and again whenever one says it is not the one any more, or
//! does not answer.

use klamm_types::{ErrorCode, Moment, NodeId};

use super::words::refused;
use super::{Call, Core, Effect};
use crate::consumer::group::error::{CommitError, GroupError};

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    node: Option<NodeId>,
    asked: Option<u64>,
    retry_at: Moment,
}

impl Coordinator {
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub fn waits_for(&self, id: u64) -> bool {
        self.asked == Some(id)
    }
}

/// What a coordinator's code says about the coordinator itself.
pub(super) fn is_elsewhere(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
}

impl Core {
    pub(super) fn look_for_coordinator(&mut self, now: Moment) {
        let member = self.subscription.is_some() && !self.idle && self.failure.is_none();
        let needed = member || !self.commits.is_empty() || !self.questions.is_empty();
        if !needed || self.coordinator.node.is_some() || self.coordinator.asked.is_some() {
            return;
        }
        if self.coordinator.retry_at > now {
            return self.wake_at(self.coordinator.retry_at);
        }
        self.coordinator.asked = Some(self.send(None, Call::FindCoordinator));
    }

    pub(super) fn found_coordinator(&mut self, now: Moment, code: ErrorCode, node: NodeId, message: &str) {
        self.coordinator.asked = None;
        match code {
            ErrorCode::None => {
                self.coordinator.node = Some(node);
                self.backoff.reset();
                if !self.cluster.brokers.contains_key(&node) {
                    self.out.push(Effect::Refresh);
                }
            }
            code if code.is_retriable() || code == ErrorCode::UnknownServerError => self.lose_coordinator(now),
            code => self.give_up(refused(code, message)),
        }
    }

    /// It has to be found again, after a pause.
    pub(super) fn lose_coordinator(&mut self, now: Moment) {
        let pause = self.backoff.next();
        self.coordinator.node = None;
        self.coordinator.asked = None;
        self.coordinator.retry_at = now + pause;
        self.out.push(Effect::Refresh);
    }

    /// The group itself is refused: nobody gets an answer.
    pub(super) fn give_up(&mut self, failure: GroupError) {
        self.refuse_commits(&CommitError::Group(failure.clone()));
        self.refuse_questions(&CommitError::Group(failure.clone()));
        if self.subscription.is_some() {
            self.fail(failure);
        }
    }
}
