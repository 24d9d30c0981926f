//! Which part of the core an answer belongs to. One that nobody waits for any more is dropped.

use std::sync::Arc;

use klamm_types::Moment;

use super::{Answer, Core, Subscription, TopicFacts};
use crate::consumer::group::error::GroupError;
use crate::error::RequestError;

type Outcome = Result<Answer, Arc<RequestError>>;

impl Core {
    pub(super) fn answered(&mut self, now: Moment, id: u64, outcome: Outcome) {
        self.coordinator.answered(id, outcome.as_ref());
        if self.coordinator.waits_for(id) {
            return match outcome {
                Ok(Answer::Coordinator { code, node, message }) => self.found_coordinator(now, code, node, &message),
                Ok(_) => self.lose_coordinator(now),
                Err(cause) if cause.is_retriable() => self.lose_coordinator(now),
                Err(cause) => self.give_up(GroupError::Request(cause)),
            };
        }
        if self.goodbye_answered(id) {
            return;
        }
        if self.matching.asked == Some(id) {
            return self.matched(now, outcome);
        }
        if self.commits.waits_for(id) {
            return self.commit_answered(now, outcome);
        }
        if let Some(question) = self.questions.iter_mut().find(|question| question.asked == Some(id)) {
            question.asked = None;
            let key = question.key;
            return self.question_answered(now, key, outcome);
        }
        if self.reconciler.waits_for(id) {
            return self.consumer_answered(now, id, outcome);
        }
        self.classic_answered(now, id, outcome);
    }

    fn matched(&mut self, now: Moment, outcome: Outcome) {
        self.matching.asked = None;
        let Ok(Answer::Topics(topics)) = outcome else {
            self.matching.due = now + self.backoff.next();
            return;
        };
        let Some(Subscription::Pattern { regex, .. }) = &self.subscription else {
            return;
        };
        let matches = |topic: &&TopicFacts| !topic.internal && regex.is_match(&topic.name);
        let matched = topics.iter().filter(matches).map(|topic| Arc::clone(&topic.name));
        let matched: std::collections::BTreeSet<Arc<str>> = matched.collect();
        self.out.push(super::Effect::Want(matched.iter().cloned().collect()));
        self.matching.matched = Some(matched);
        self.matching.due = now + self.config.metadata_max_age;
    }

    /// A request to the coordinator was not answered: true if trying again makes sense. Then it is looked for anew.
    pub(super) fn unanswered(&mut self, now: Moment, cause: &Arc<RequestError>) -> bool {
        tracing::debug!(error = %cause, "the group's coordinator did not answer");
        if cause.is_retriable() {
            self.lose_coordinator(now);
        }
        cause.is_retriable()
    }
}
