//! Where the time of a sampled produce goes: a span for its partition, with a part for each step on the way.
//!
//! ```text
//!   checks ─► queue ─► append ─► flush ─► replicas ─► answer
//! ```
//! A step ends where the next one begins. `flush` is this broker's own; `replicas` lasts until the high watermark has
//! passed the batch. A level that does not wait for a step has none of it.

use std::time::Instant;

use klamm_replication::RequestId;
use klamm_trace::{Kind, Span, current};
use klamm_types::{ErrorCode, Offset};

pub(crate) struct Steps {
    /// Ends with this.
    span: Span,
    since: Instant,
    request: Option<RequestId>,
    /// Exclusive; known once it is appended.
    end: Option<Offset>,
    flushed: bool,
}

impl Steps {
    /// Of the request that the present task works for; none if that is not sampled.
    pub fn begin() -> Option<Box<Steps>> {
        let span = current()?.child("partition", Kind::Internal);
        Some(Box::new(Steps {
            span,
            since: Instant::now(),
            request: None,
            end: None,
            flushed: false,
        }))
    }

    fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        self.span.parent().part(step, self.since, now);
        self.since = now;
    }

    /// The worker has it.
    pub fn taken(&mut self, request: RequestId, partition: &str) {
        self.done("queue");
        self.span.set("klamm.partition", partition.to_owned());
        self.request = Some(request);
    }
}

/// A step of what may not be sampled.
pub(crate) fn done(steps: &mut Option<Box<Steps>>, step: &'static str) {
    if let Some(steps) = steps {
        steps.done(step);
    }
}

/// The log has the batch; its end is at most `end`.
pub(crate) fn appended(traced: &mut [Steps], request: RequestId, end: Offset) {
    for steps in traced.iter_mut().filter(|steps| steps.request == Some(request)) {
        steps.done("append");
        steps.end = Some(end);
    }
}

pub(crate) fn flushed(traced: &mut [Steps], to: Offset) {
    let waits = |steps: &&mut Steps| !steps.flushed && steps.end.is_some_and(|end| end <= to);
    for steps in traced.iter_mut().filter(waits) {
        steps.done("flush");
        steps.flushed = true;
    }
}

/// It is about to be answered.
pub(crate) fn completed(traced: &mut Vec<Steps>, request: RequestId, error: Option<ErrorCode>) {
    for mut steps in traced.extract_if(.., |steps| steps.request == Some(request)) {
        match error {
            Some(code) => steps.span.fail(code.name()),
            // Answered in the step that appended it.
            None if steps.end.is_none() => steps.done("append"),
            None => steps.done("replicas"),
        }
    }
}
