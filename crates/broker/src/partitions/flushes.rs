//! Having flushes run by the threads for it, and what they come to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use klamm_log::FlushJob;
use klamm_replication::{Event, FlushId, Lane};
use klamm_types::TopicPartition;

use super::carry;
use super::command::{Command, FlushOutcome};
use super::hosted::Slot;
use super::inbox::Inbox;
use super::shared::Shared;
use super::worker::Worker;
use crate::pace::rounds::Rounds;

/// A flush that a core has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushOrder {
    pub partition: TopicPartition,
    pub flush: FlushId,
    pub lane: Lane,
}

/// A flush, ready to be run by any thread.
pub(crate) struct Flushing {
    order: FlushOrder,
    job: FlushJob,
    /// Of the worker that asked.
    inbox: Arc<Inbox<Command>>,
}

impl Flushing {
    fn run(self, shared: &Shared) {
        let begun = Instant::now();
        let result = self.job.run();
        shared.metrics.flush_seconds.observe(begun.elapsed());
        // A worker that has ended needs no answer.
        let _ = self.inbox.push(Command::Flushed(Box::new(FlushOutcome {
            partition: self.order.partition,
            flush: self.order.flush,
            result,
        })));
    }
}

/// The flushes of what is caught up.
pub(crate) type CatchUpFlushes = Mutex<Rounds<Flushing>>;

fn lock(flushes: &CatchUpFlushes) -> MutexGuard<'_, Rounds<Flushing>> {
    flushes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries out what `change` says is to be run now.
fn in_rounds(shared: &Arc<Shared>, change: impl FnOnce(&mut Rounds<Flushing>, Instant) -> Vec<Flushing>) {
    let begins = change(&mut lock(&shared.catch_up_flushes), Instant::now());
    for flushing in begins {
        let here = Arc::clone(shared);
        shared.flushes.submit_owed(move || {
            flushing.run(&here);
            let pause = lock(&here.catch_up_flushes).ended(Instant::now());
            if let Some(pause) = pause {
                here.metrics.catch_up_pause_seconds.observe(pause);
                here.after(pause, |shared| in_rounds(shared, Rounds::resume));
            }
        });
    }
}

impl Worker {
    /// Starts the flushes that this round has asked for.
    pub(super) fn start_flushes(&mut self) {
        for order in std::mem::take(&mut self.ctx.flushes) {
            let FlushOrder { partition, flush, .. } = order;
            let Some(Slot::Ready(_, log)) = self.slots.get_mut(&partition) else {
                continue;
            };
            let Some(job) = log.start_flush() else {
                let offset = log.flushed_offset();
                self.feed(partition, Event::FlushedTo { flush, offset });
                continue;
            };
            let inbox = self.ctx.inbox();
            let flushing = Flushing { order, job, inbox };
            match order.lane {
                Lane::InSync => self.flush_now(flushing),
                Lane::CatchUp => in_rounds(&self.ctx.shared, |rounds, now| rounds.add(flushing, now)),
            }
        }
    }

    fn flush_now(&mut self, flushing: Flushing) {
        let FlushOrder { partition, flush, .. } = flushing.order;
        let shared = Arc::clone(&self.ctx.shared);
        let submitted = self.ctx.shared.flushes.submit(move || flushing.run(&shared));
        if let Err(error) = submitted {
            tracing::error!(%partition, %error, "a flush could not be started");
            self.feed(partition, Event::FlushFailed { flush });
        }
    }

    pub(super) fn flushed(&mut self, outcome: FlushOutcome) {
        let FlushOutcome {
            partition,
            flush,
            result,
        } = outcome;
        let Some(Slot::Ready(hosted, log)) = self.slots.get_mut(&partition) else {
            return;
        };
        let event = match result {
            Ok(flushed) => {
                log.flush_done(flushed);
                self.ctx.touch(hosted);
                Event::FlushedTo {
                    flush,
                    offset: flushed.offset,
                }
            }
            Err(error) => {
                tracing::error!(
                    partition = &*hosted.name,
                    error = carry::chain(&error),
                    "flushing failed"
                );
                Event::FlushFailed { flush }
            }
        };
        self.feed(partition, event);
    }
}
