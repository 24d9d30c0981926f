//! Finding records by time. The answer is a record, not the batch it came in, so batches are opened here.
//!
//! Works on files only, as a job of its own, because a time index is rarely in memory and a batch may have to be
//! decompressed.

use std::sync::Arc;

use klamm_record::DECOMPRESSED_SIZE_MAX;
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use crate::error::{DamageKind, ReadError};
use crate::flush::Shared;
use crate::index::TimeEntry;
use crate::read::{explain, locate};
use crate::scan::{BatchScan, Expected, HeaderWalk, Wait};
use crate::segment::{Hint, ReadFault, SegmentView};

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

/// Looks for the first record at or after a time; may wait for the disk.
#[derive(Debug)]
pub struct TimestampLookup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) layout: u64,
    /// The segments that hold a timestamp as large, in order.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) target: Timestamp,
    /// Records below the log start do not count.
    pub(crate) log_start: Offset,
}

#[derive(Debug)]
pub(crate) struct Candidate {
    pub segment: SegmentView,
    /// The last time entry at or below the target, if it waits in memory, and where its batch is to be looked for.
    pub entry: Option<(TimeEntry, Hint)>,
}

impl TimestampLookup {
    /// Looks; `None` if there is no such record.
    ///
    /// # Errors
    /// As for a read.
    pub fn run(self) -> Result<Option<TimestampOffset>, ReadError> {
        for candidate in &self.candidates {
            match self.search(candidate) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(fault) => {
                    let segment = &candidate.segment;
                    return Err(explain(fault, &self.shared, self.layout, segment, segment.end));
                }
            }
        }
        Ok(None)
    }

    fn search(&self, candidate: &Candidate) -> Result<Option<TimestampOffset>, ReadFault> {
        let segment = &candidate.segment;
        let (start, first) = self.start(candidate)?;
        let mut walk = HeaderWalk::new(segment.extent(start, Wait::Allowed)?, Some(first), Wait::Allowed);
        while let Some((position, header)) = walk.next()? {
            let is_hollow = header.records_count == 0;
            if is_hollow || header.max_timestamp < self.target || header.last_offset() < self.log_start {
                continue;
            }
            if let Some(found) = self.search_batch(segment, position, header.base_offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where in the segment nothing before can be meant, and the offset there.
    fn start(&self, candidate: &Candidate) -> Result<(u64, Offset), ReadFault> {
        let segment = &candidate.segment;
        let front = (0, segment.base);
        let (entry, hint) = match candidate.entry {
            Some(known) => known,
            None => match segment.look_up_time(self.target)? {
                Some(entry) => (entry, Hint::IndexFile),
                None => return Ok(front),
            },
        };
        let offset = Offset(segment.base.0 + i64::from(entry.relative));
        if offset >= segment.end {
            return Ok(front);
        }
        let place = locate(segment, hint, offset, Wait::Allowed)?;
        let is_true = place.header.last_offset() == offset && place.header.max_timestamp == entry.timestamp;
        Ok(if is_true {
            (place.position, place.header.base_offset)
        } else {
            front
        })
    }

    fn search_batch(
        &self,
        segment: &SegmentView,
        position: u64,
        base: Offset,
    ) -> Result<Option<TimestampOffset>, ReadFault> {
        let mut scan = BatchScan::new(segment.extent(position, Wait::Allowed)?, Some(base));
        let Some((_, batch)) = scan.next()? else {
            return Ok(None);
        };
        let at = Expected {
            position,
            offset: Some(base),
        };
        let malformed = |cause| at.invalid(DamageKind::Batch(cause));
        for record in batch.records(DECOMPRESSED_SIZE_MAX).map_err(malformed)? {
            let record = record.map_err(malformed)?;
            if record.timestamp >= self.target && record.offset >= self.log_start {
                return Ok(Some(TimestampOffset {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    leader_epoch: batch.leader_epoch(),
                }));
            }
        }
        Ok(None)
    }
}
