//! The last steps of a history, told when it fails.

use std::collections::VecDeque;

use klamm_types::Moment;

use crate::call::CallId;
use crate::draft::Decision;
use crate::history::Happened;
use crate::reply::Reply;
use crate::shard::Event;

const STEPS_MAX: usize = 150;

/// Prints itself when a panic passes.
#[derive(Default)]
pub struct Recent {
    steps: VecDeque<Step>,
}

/// One event and what it led to.
struct Step {
    moment: Moment,
    event: Event,
    replies: Vec<(CallId, Reply)>,
    history: Vec<Happened>,
}

impl Recent {
    pub fn remember(&mut self, moment: Moment, event: &Event, decision: &Decision) {
        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(Step {
            moment,
            event: event.clone(),
            replies: decision.replies.clone(),
            history: decision.history.iter().map(|entry| entry.happened.clone()).collect(),
        });
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in &self.steps {
                eprintln!("{:.3} s {:?}", step.moment.0 as f64 / 1e6, step.event);
                step.history.iter().for_each(|happened| eprintln!("    {happened:?}"));
                step.replies.iter().for_each(|reply| eprintln!("    {reply:?}"));
            }
        }
    }
}
