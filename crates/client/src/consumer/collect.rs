//! From the core to the program: leases batches, opens them, and hands their records out. Does not wait.
//!
//! The core is free while a batch is opened, so the consumer's task may take the batch back meanwhile. Only what
//! `hand_out` agrees to goes to the program.

use klamm_record::BatchError;
use klamm_types::Moment;

use super::core::Lease;
use super::error::ConsumeError;
use super::reader::Read;
use super::record::ConsumerRecord;
use super::task::Shared;

/// How much is taken at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub records_max: usize,
    /// No further batch is opened once the records take so much.
    pub bytes_max: usize,
}

/// Takes what is there; `None` if nothing happened. `read` appends up to so many records of a batch.
pub(super) fn collect(
    now: Moment,
    shared: &Shared,
    room: Room,
    mut read: impl FnMut(&Lease, usize, &mut Vec<ConsumerRecord>) -> Result<Read, BatchError>,
) -> Result<Option<Vec<ConsumerRecord>>, ConsumeError> {
    if let Some(failure) = shared.core().failure(now) {
        shared.wake.notify_one();
        return Err(failure);
    }
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < room.records_max && bytes < room.bytes_max {
        let Some(lease) = shared.core().lease() else { break };
        let kept = records.len();
        match read(&lease, room.records_max - kept, &mut records) {
            Ok(read) => {
                if shared.core().hand_out(&lease, read.position) {
                    bytes += read.bytes;
                } else {
                    // The position has not moved, so these would come again.
                    records.truncate(kept);
                }
            }
            // Found again, and reported, by the next call.
            Err(_) if !records.is_empty() => break,
            Err(cause) => {
                if let Some(failure) = shared.core().damaged(now, &lease, cause) {
                    shared.wake.notify_one();
                    return Err(failure);
                }
            }
        }
    }
    let moved = shared.core().take_moved();
    if records.is_empty() && !moved {
        return Ok(None);
    }
    shared.wake.notify_one();
    Ok(Some(records))
}
