//! Fetch, on the worker that owns the partitions.
//!
//! What lies in memory is answered at once, what may wait for the disk by a background thread. How far a client may
//! read is the core's word; that a fetch waits for more is arranged between the caller and the core.

use std::collections::HashMap;

use klamm_log::{BatchBytes, ColdRead, Log, Read, ReadError};
use klamm_replication::Event;
use klamm_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::carry::chain;
use super::command::{Command, Events, FetchCommand, Park};
use super::context::Context;
use super::hosted::{Hosted, Slot};
use crate::api::{FetchPartition, FetchedData, FetchedPartition, PartitionError};

pub(super) type Slots = HashMap<TopicPartition, Slot>;

/// What became of one partition of a fetch.
enum Part {
    Done(FetchedPartition),
    /// The bytes must come from the disk; the rest of the answer is there.
    Cold(FetchedPartition, ColdRead),
}

/// What a fetch has gathered so far.
struct Gathered {
    parts: Vec<(usize, Part)>,
    bytes: usize,
    left: usize,
    /// An error or a divergence: the client must know at once.
    urgent: bool,
}

pub(crate) fn fetch(slots: &mut Slots, ctx: &mut Context, command: FetchCommand) {
    let mut gathered = Gathered {
        parts: Vec::with_capacity(command.parts.len()),
        bytes: 0,
        left: command.max_bytes,
        urgent: false,
    };
    let mut waits = Vec::new();
    for (index, part) in &command.parts {
        let Some(Slot::Ready(hosted, log)) = slots.get_mut(&part.partition) else {
            gathered.urgent = true;
            let error = ctx.shared.not_hosted(part.partition);
            gathered.parts.push((*index, done(part, Err(error))));
            continue;
        };
        match read_part(hosted, log, part, &command, &gathered) {
            Ok((read, bytes, beyond)) => {
                ctx.touch(hosted);
                let diverged = matches!(&read, Part::Done(done) if done.result.as_ref().is_ok_and(|data| data.diverging.is_some()));
                gathered.urgent |= diverged;
                gathered.bytes += bytes;
                gathered.left = gathered.left.saturating_sub(bytes);
                gathered.parts.push((*index, read));
                waits.push((part.partition, beyond));
            }
            Err(refusal) => {
                gathered.urgent = true;
                if let Some(event) = refusal.event {
                    // By way of the queue, as from the threads that read cold data.
                    let _ = ctx.inbox().push(one_event(part.partition, event));
                }
                gathered.parts.push((*index, done(part, Err(*refusal.error))));
            }
        }
    }
    if gathered.bytes < command.min_bytes
        && !gathered.urgent
        && let Some(park) = &command.park
    {
        ctx.shared.metrics.fetches_parked.add(1);
        self::park(slots, ctx, &command, park, &waits);
    }
    answer(ctx, command, gathered);
}

/// Why a partition gives nothing, and what its core must hear of it.
struct Refusal {
    error: Box<PartitionError>,
    event: Option<Event>,
}

impl From<PartitionError> for Refusal {
    fn from(error: PartitionError) -> Self {
        Self {
            error: Box::new(error),
            event: None,
        }
    }
}

/// One partition's answer, its bytes, and the offset beyond which there must be more before it is worth asking again.
fn read_part(
    hosted: &Hosted,
    log: &Log,
    part: &FetchPartition,
    command: &FetchCommand,
    gathered: &Gathered,
) -> Result<(Part, usize, Offset), Refusal> {
    let bound = hosted.check_read(part.current_leader_epoch, command.from, command.isolation)?;
    let offset = part.fetch_offset;
    let mut data = FetchedData {
        high_watermark: hosted.replica.high_watermark(),
        last_stable_offset: hosted.replica.last_stable_offset(),
        log_start_offset: hosted.replica.log_start(),
        ..FetchedData::default()
    };
    let beyond = bound.max(offset);
    if part.last_fetched_epoch != LeaderEpoch::NONE {
        data.diverging = divergence(hosted, part)?;
        if data.diverging.is_some() {
            return Ok((done(part, Ok(data)), 0, beyond));
        }
    }
    hosted
        .replica
        .check_fetch_offset(offset)
        .map_err(|code| hosted.error(code))?;
    let first = gathered.bytes == 0;
    if offset >= bound || (gathered.left == 0 && !first) {
        return Ok((done(part, Ok(data)), 0, beyond));
    }
    let bytes_max = part.max_bytes.min(gathered.left);
    match log
        .read(offset, bytes_max, bound)
        .map_err(|error| refusal(hosted, &error))?
    {
        Read::Ready(batches) => {
            let bytes = take_batches(&mut data, batches, first, bytes_max);
            Ok((done(part, Ok(data)), bytes, beyond))
        }
        Read::Cold(cold) => {
            let fetched = FetchedPartition {
                partition: part.partition,
                result: Ok(data),
            };
            Ok((Part::Cold(fetched, cold), bytes_max.max(1), beyond))
        }
    }
}

/// Puts batches into an answer. Only the first partition with data may exceed its bound, by its first batch.
fn take_batches(data: &mut FetchedData, batches: BatchBytes, first: bool, bytes_max: usize) -> usize {
    if !first && batches.size > bytes_max {
        return 0;
    }
    data.records = batches.chunks;
    batches.size
}

/// Where the client's log has left this one, if it has.
fn divergence(hosted: &Hosted, part: &FetchPartition) -> Result<Option<(LeaderEpoch, Offset)>, PartitionError> {
    let epoch = part.last_fetched_epoch;
    let Some(end) = hosted.replica.end_of_epoch(epoch) else {
        return Err(hosted.error(ErrorCode::OffsetOutOfRange));
    };
    let agrees = end.epoch == epoch && end.end_offset >= part.fetch_offset;
    Ok((!agrees).then_some((end.epoch, end.end_offset)))
}

fn done(part: &FetchPartition, result: Result<FetchedData, PartitionError>) -> Part {
    Part::Done(FetchedPartition {
        partition: part.partition,
        result,
    })
}

fn refusal(hosted: &Hosted, error: &ReadError) -> Refusal {
    let (code, event) = judge(error);
    if event.is_some() {
        tracing::error!(
            partition = &*hosted.name,
            error = chain(error),
            "reading for a client failed"
        );
    }
    Refusal {
        error: Box::new(hosted.error(code)),
        event,
    }
}

/// What a failed read means to the client, and to the core.
pub(super) fn judge(error: &ReadError) -> (ErrorCode, Option<Event>) {
    match error {
        ReadError::OutOfRange { .. } => (ErrorCode::OffsetOutOfRange, None),
        ReadError::Corrupt(damage) => (
            ErrorCode::KafkaStorageError,
            Some(Event::DamageFound { from: damage.offset }),
        ),
        ReadError::Changed => (ErrorCode::NotLeaderOrFollower, None),
        ReadError::Disk(_) => (ErrorCode::KafkaStorageError, Some(Event::DiskFailed)),
    }
}

/// Has the cores wake the fetch when there is more than it has seen.
fn park(slots: &mut Slots, ctx: &mut Context, command: &FetchCommand, park: &Park, waits: &[(TopicPartition, Offset)]) {
    let parked_max = ctx.shared.config.limits.parked_fetches_max;
    for &(partition, beyond) in waits {
        let Some(Slot::Ready(hosted, log)) = slots.get_mut(&partition) else {
            continue;
        };
        if hosted.fetches.len() < parked_max {
            hosted.fetches.insert(park.request, park.wake.clone());
            let isolation = command.isolation;
            ctx.feed(
                hosted,
                log,
                Event::ParkFetch {
                    request: park.request,
                    beyond,
                    isolation,
                },
            );
        }
    }
}

fn answer(ctx: &Context, command: FetchCommand, gathered: Gathered) {
    let metrics_bytes = gathered.bytes as u64;
    let any_cold = gathered.parts.iter().any(|(_, part)| matches!(part, Part::Cold(..)));
    if !any_cold {
        ctx.shared.metrics.fetched_bytes.add(metrics_bytes);
        let parts = gathered
            .parts
            .into_iter()
            .map(|(index, part)| (index, warm(part)))
            .collect();
        let _ = command.reply.send(parts);
        return;
    }
    let inbox = ctx.inbox();
    let shared = std::sync::Arc::clone(&ctx.shared);
    shared.metrics.cold_reads.add(1);
    let max_bytes = command.max_bytes;
    let job = move || {
        let mut left = max_bytes;
        let mut found = 0;
        let mut parts = Vec::with_capacity(gathered.parts.len());
        for (index, part) in gathered.parts {
            let fetched = match part {
                Part::Done(done) => done,
                Part::Cold(fetched, cold) => read_cold(fetched, cold, (found == 0, left), &inbox),
            };
            let bytes = size_of(&fetched);
            found += bytes;
            left = left.saturating_sub(bytes);
            parts.push((index, fetched));
        }
        shared.metrics.fetched_bytes.add(found as u64);
        let _ = command.reply.send(parts);
    };
    // If the threads have too much to do, the reply is dropped and the caller answers without data.
    let _ = ctx.shared.background.submit(job);
}

fn warm(part: Part) -> FetchedPartition {
    match part {
        Part::Done(done) | Part::Cold(done, _) => done,
    }
}

fn size_of(fetched: &FetchedPartition) -> usize {
    fetched
        .result
        .as_ref()
        .map_or(0, |data| data.records.iter().map(bytes::Bytes::len).sum())
}

fn read_cold(
    mut fetched: FetchedPartition,
    cold: ColdRead,
    (first, left): (bool, usize),
    inbox: &super::inbox::Inbox<Command>,
) -> FetchedPartition {
    match cold.run() {
        Ok(batches) => {
            if let Ok(data) = &mut fetched.result {
                take_batches(data, batches, first, left);
            }
        }
        Err(error) => {
            let (code, event) = judge(&error);
            if let Some(event) = event {
                tracing::error!(partition = %fetched.partition, error = chain(&error), "reading for a client failed");
                let _ = inbox.push(one_event(fetched.partition, event));
            }
            fetched.result = Err(PartitionError::from(code));
        }
    }
    fetched
}

pub(super) fn one_event(partition: TopicPartition, event: Event) -> Command {
    Command::Events(Box::new(Events {
        events: [(partition, event)].into(),
        pair: None,
        place: None,
    }))
}

pub(crate) fn isolation(isolation: crate::api::Isolation) -> klamm_replication::Isolation {
    match isolation {
        crate::api::Isolation::ReadUncommitted => klamm_replication::Isolation::ReadUncommitted,
        crate::api::Isolation::ReadCommitted => klamm_replication::Isolation::ReadCommitted,
    }
}
