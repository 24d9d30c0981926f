//! Carrying out pushes: batches from the log to a follower's stream. What is pushed, and when, the core says.

use klamm_log::{BatchBytes, Log, Read, ReadError};
use klamm_replication::{Effect, Event, PushFailure};
use klamm_types::Offset;

use super::command::{Command, PushReadOutcome, ToFollowerKey};
use super::context::Context;
use super::hosted::Hosted;
use crate::replica::convert::{self, Bounds, SubscriptionKey};

/// One push, as the core ordered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PushOrder {
    pub key: ToFollowerKey,
    pub from: Offset,
    pub up_to: Offset,
    pub bytes_max: u64,
    pub bounds: Bounds,
}

impl PushOrder {
    /// `None` for any other effect.
    pub fn of(effect: &Effect) -> Option<PushOrder> {
        let &Effect::Push {
            follower,
            subscription,
            leader_epoch,
            lane,
            from,
            up_to,
            bytes_max,
            high_watermark,
            log_start,
        } = effect
        else {
            return None;
        };
        let key = ToFollowerKey {
            follower,
            subscription,
            leader_epoch,
            lane,
        };
        let bounds = Bounds {
            high_watermark,
            log_start,
        };
        Some(PushOrder {
            key,
            from,
            up_to,
            bytes_max,
            bounds,
        })
    }
}

/// Reads what is to be pushed. What lies in memory is pushed at once and the answer returned; else a thread that may
/// wait for the disk reads it.
pub(crate) fn start(ctx: &mut Context, hosted: &Hosted, log: &Log, order: PushOrder) -> Option<Event> {
    let bytes_max = usize::try_from(order.bytes_max).unwrap_or(usize::MAX);
    match log.read(order.from, bytes_max, order.up_to) {
        Ok(Read::Ready(batches)) => Some(finish(ctx, hosted, order, Ok(batches))),
        Ok(Read::Cold(cold)) => {
            ctx.shared.metrics.cold_reads.add(1);
            let (partition, inbox) = (hosted.id, ctx.inbox());
            let submitted = ctx.shared.background.submit(move || {
                let result = cold.run();
                // A worker that has ended needs no answer.
                let _ = inbox.push(Command::PushRead(Box::new(PushReadOutcome {
                    partition,
                    order,
                    result,
                })));
            });
            submitted.err().map(|_| failed(order, PushFailure::Stream))
        }
        Err(error) => Some(finish(ctx, hosted, order, Err(error))),
    }
}

/// Hands batches that were read to the follower's stream.
pub(crate) fn finish(
    ctx: &mut Context,
    hosted: &Hosted,
    order: PushOrder,
    result: Result<BatchBytes, ReadError>,
) -> Event {
    let batches = match result {
        Ok(batches) => batches,
        Err(error) => return failed(order, failure_of(hosted, &error)),
    };
    let key = order.key;
    let pair = hosted
        .followers
        .get(&key.follower)
        .filter(|(number, _)| *number == key.subscription);
    let Some((_, pair)) = pair.filter(|(_, pair)| !pair.has_ended()) else {
        return failed(order, PushFailure::Stream);
    };
    let (next, bytes) = (batches.next_offset, batches.size as u64);
    ctx.shared.metrics.pushed_bytes.add(bytes);
    let named = SubscriptionKey {
        partition: hosted.id,
        number: key.subscription,
        leader_epoch: key.leader_epoch,
    };
    let message = convert::to_batches(named, order.bounds, order.from, batches);
    pair.outbox(key.lane)
        .put(|queue| queue.push_batches(hosted.id, message));
    Event::Pushed {
        follower: key.follower,
        subscription: key.subscription,
        next,
        bytes,
    }
}

fn failed(order: PushOrder, failure: PushFailure) -> Event {
    Event::PushFailed {
        follower: order.key.follower,
        subscription: order.key.subscription,
        failure,
    }
}

fn failure_of(hosted: &Hosted, error: &ReadError) -> PushFailure {
    match error {
        ReadError::OutOfRange { .. } => PushFailure::OutOfRange,
        ReadError::Corrupt(damage) => {
            tracing::error!(partition = &*hosted.name, %damage, "a batch read for replication is damaged");
            PushFailure::Damaged { from: damage.offset }
        }
        // The log was cut meanwhile: the follower compares the logs again.
        ReadError::Changed => PushFailure::Stream,
        ReadError::Disk(cause) => {
            tracing::error!(partition = &*hosted.name, %cause, "reading for replication failed");
            PushFailure::Disk
        }
    }
}
