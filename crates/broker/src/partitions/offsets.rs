//! ListOffsets and OffsetForLeaderEpoch, on the worker that owns the partition, and its partitions as they stand.
//!
//! What the core knows is answered at once; timestamps are looked up by a background thread.

use klamm_log::{ReadError, TimestampLookup, TimestampOffset};
use klamm_replication::ReadFrom;
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use super::carry::chain;
use super::command::{EpochEndCommand, ListOffsetCommand};
use super::context::Context;
use super::hosted::{Hosted, Slot};
use super::reads::{Slots, isolation, judge, one_event};
use crate::api::{EpochEnd, FollowerReads, ListedOffset, OffsetSpec, PartitionError, PartitionStatus};

const NOT_FOUND: ListedOffset = ListedOffset {
    offset: Offset::NONE,
    timestamp: Timestamp::NONE,
    leader_epoch: LeaderEpoch::NONE,
};

pub(crate) fn list_offset(slots: &mut Slots, ctx: &mut Context, command: ListOffsetCommand) {
    let partition = command.request.partition;
    let Some(Slot::Ready(hosted, log)) = slots.get_mut(&partition) else {
        let _ = command.reply.send(Err(ctx.shared.not_hosted(partition)));
        return;
    };
    let known = match known_offset(hosted, &command) {
        Ok(known) => known,
        Err(error) => {
            let _ = command.reply.send(Err(error));
            return;
        }
    };
    let lookup = match (known, command.request.spec) {
        (Some(listed), _) => {
            let _ = command.reply.send(Ok(listed));
            return;
        }
        (None, OffsetSpec::AtOrAfter(target)) => log.offset_for_timestamp(target),
        (None, _) => log.max_timestamp_offset(),
    };
    look_up(ctx, hosted, command, lookup);
}

/// Answers what needs no look into the log; `None` for the rest.
fn known_offset(hosted: &Hosted, command: &ListOffsetCommand) -> Result<Option<ListedOffset>, PartitionError> {
    let request = &command.request;
    let from = match request.followers {
        FollowerReads::Allowed => ReadFrom::AnyReplica,
        FollowerReads::Refused => ReadFrom::Leader,
    };
    let isolation = isolation(request.isolation);
    hosted.check_read(request.current_leader_epoch, from, isolation)?;
    let at = |offset, leader_epoch| {
        Some(ListedOffset {
            offset,
            timestamp: Timestamp::NONE,
            leader_epoch,
        })
    };
    Ok(match request.spec {
        OffsetSpec::Latest => {
            let latest = hosted
                .replica
                .latest_offset_answer(isolation)
                .map_err(|code| hosted.error(code))?;
            at(latest.offset, latest.leader_epoch)
        }
        OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
            let start = Offset::from(hosted.replica.log_start());
            at(start, hosted.replica.epoch_at(start))
        }
        OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => Some(NOT_FOUND),
        OffsetSpec::MaxTimestamp | OffsetSpec::AtOrAfter(_) => None,
    })
}

fn look_up(ctx: &Context, hosted: &Hosted, command: ListOffsetCommand, lookup: TimestampLookup) {
    let latest = hosted
        .replica
        .latest_offset_answer(isolation(command.request.isolation));
    let latest = latest.map(|latest| latest.offset).map_err(|code| hosted.error(code));
    let bound = hosted.replica.fetch_bound(isolation(command.request.isolation));
    let (partition, inbox, name) = (hosted.id, ctx.inbox(), std::sync::Arc::clone(&hosted.name));
    let job = move || {
        let found = lookup.run();
        if let Err(error) = &found
            && let (_, Some(event)) = judge(error)
        {
            tracing::error!(
                partition = &*name,
                error = chain(error),
                "looking up a timestamp failed"
            );
            let _ = inbox.push(one_event(partition, event));
        }
        let _ = command.reply.send(listed(found, bound, latest));
    };
    // If the threads have too much to do, the reply is dropped and the caller says so.
    let _ = ctx.shared.background.submit(job);
}

/// What lies above the bound is not found; if the bound itself is not certain yet, that is said instead.
fn listed(
    found: Result<Option<TimestampOffset>, ReadError>,
    bound: Offset,
    latest: Result<Offset, PartitionError>,
) -> Result<ListedOffset, PartitionError> {
    match found {
        Ok(Some(found)) if found.offset < bound => Ok(ListedOffset {
            offset: found.offset,
            timestamp: found.timestamp,
            leader_epoch: found.leader_epoch,
        }),
        Ok(_) => latest.map(|_| NOT_FOUND),
        Err(error) => Err(PartitionError::from(judge(&error).0)),
    }
}

pub(crate) fn epoch_end(slots: &Slots, ctx: &Context, command: EpochEndCommand) {
    let request = command.request;
    let Some(Slot::Ready(hosted, _)) = slots.get(&request.partition) else {
        let _ = command.reply.send(Err(ctx.shared.not_hosted(request.partition)));
        return;
    };
    let checked = hosted
        .replica
        .check_read(request.current_leader_epoch, ReadFrom::Leader);
    let answer = checked.map_err(|code| hosted.error(code)).map(|()| {
        let end = hosted.replica.end_of_epoch(request.leader_epoch);
        end.map_or(
            EpochEnd {
                leader_epoch: LeaderEpoch::NONE,
                end_offset: Offset::NONE,
            },
            |end| EpochEnd {
                leader_epoch: end.epoch,
                end_offset: end.end_offset,
            },
        )
    });
    let _ = command.reply.send(answer);
}

pub(crate) fn statuses(slots: &Slots) -> Vec<PartitionStatus> {
    let status = |slot: &Slot| match slot {
        Slot::Ready(hosted, log) => Some(hosted.status(Some(log))),
        Slot::Cutting(hosted, _) => Some(hosted.status(None)),
        Slot::Opening(_) => None,
    };
    slots.values().filter_map(status).collect()
}
