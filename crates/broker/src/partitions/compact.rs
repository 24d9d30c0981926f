//! The worker's part in compaction: which logs are due, and what becomes of a run.
//!
//! Reading and writing is done by a thread of its own; the worker only exchanges files, one segment at a time, so that
//! its other partitions wait for no more than one sync of a directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use klamm_log::{CompactedTo, CompactionJob, CompactionOutcome, Exchanged, Log, ReadError};
use klamm_replication::Event;
use klamm_types::TopicPartition;

use super::carry::chain;
use super::command::{Command, CompactionResult};
use super::context::Context;
use super::hosted::{Compaction, Hosted, Slot};
use super::reads;
use super::worker::Worker;

impl Worker {
    /// Begins to compact the logs that are worth it.
    pub(super) fn compact(&mut self) {
        let wall = self.ctx.shared.clock.now().wall;
        for (partition, slot) in &mut self.slots {
            let Slot::Ready(hosted, log) = slot else {
                continue;
            };
            if hosted.compaction == Compaction::UnderWay || log.config().compaction.is_none() {
                continue;
            }
            let high_watermark = hosted.replica.high_watermark();
            if let Some(job) = log.start_compaction(wall, high_watermark)
                && begin(&self.ctx, *partition, job)
            {
                hosted.compaction = Compaction::UnderWay;
                self.ctx.touch(hosted);
            }
        }
    }

    /// A run has ended, or a part of it has been exchanged.
    pub(super) fn compacted(&mut self, compacted: CompactionResult) {
        let partition = compacted.partition;
        let event = match self.slots.get_mut(&partition) {
            Some(Slot::Ready(hosted, log)) => match compacted.result {
                Ok(done) => exchange(&mut self.ctx, hosted, log, done),
                Err(error) => failed(&self.ctx, hosted, &error),
            },
            Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                waiting.commands.push_back(Command::Compacted(Box::new(compacted)));
                None
            }
            // What it has written is removed by the next start, if the directory is still there then.
            None => None,
        };
        if let Some(event) = event {
            self.feed(partition, event);
        }
    }
}

/// False: too many wait already.
fn begin(ctx: &Context, partition: TopicPartition, job: CompactionJob) -> bool {
    let (shared, inbox) = (Arc::clone(&ctx.shared), ctx.inbox());
    let submitted = ctx.shared.compactions.submit(move || {
        let result = job.run(&|| !shared.ending.load(Ordering::Relaxed));
        // A worker that has ended needs no answer.
        let _ = inbox.push(Command::Compacted(Box::new(CompactionResult { partition, result })));
    });
    submitted.is_ok()
}

fn exchange(ctx: &mut Context, hosted: &mut Hosted, log: &mut Log, done: CompactedTo) -> Option<Event> {
    match log.exchange_compacted(done) {
        Ok(Exchanged::Partly(rest)) => {
            let partition = hosted.id;
            let result = Ok(rest);
            let _ = ctx
                .inbox()
                .push(Command::Compacted(Box::new(CompactionResult { partition, result })));
            None
        }
        Ok(Exchanged::Wholly(outcome)) => {
            hosted.compaction = Compaction::Resting;
            ctx.touch(hosted);
            note(ctx, hosted, outcome);
            None
        }
        Err(error) => {
            hosted.compaction = Compaction::Resting;
            ctx.shared.metrics.compaction_failures.add(1);
            let cause = chain(&error);
            tracing::error!(
                partition = &*hosted.name,
                error = cause,
                "exchanging compacted segments failed"
            );
            // Which of two files has a segment's name is not known any more.
            Some(Event::DiskFailed)
        }
    }
}

fn note(ctx: &Context, hosted: &Hosted, outcome: CompactionOutcome) {
    let metrics = &ctx.shared.metrics;
    metrics.compactions.add(1);
    metrics.compacted_segments.add(outcome.segments as u64);
    metrics.compaction_read_bytes.add(outcome.bytes_read);
    metrics.compaction_freed_bytes.add(outcome.bytes_freed);
    tracing::debug!(partition = &*hosted.name, ?outcome, "a log was compacted");
}

/// The log goes on as it was.
fn failed(ctx: &Context, hosted: &mut Hosted, error: &ReadError) -> Option<Event> {
    hosted.compaction = Compaction::Resting;
    match error {
        // It was cut meanwhile, or the broker stops.
        ReadError::Changed => None,
        ReadError::Corrupt(damage) => {
            ctx.shared.metrics.compaction_failures.add(1);
            tracing::error!(partition = &*hosted.name, %damage, "a batch read for compaction is damaged");
            reads::judge(error).1
        }
        ReadError::Disk(_) | ReadError::OutOfRange { .. } => {
            ctx.shared.metrics.compaction_failures.add(1);
            let cause = chain(error);
            tracing::warn!(partition = &*hosted.name, error = cause, "a log could not be compacted");
            None
        }
    }
}
