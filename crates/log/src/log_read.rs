//! The reading side of a log: which segment, which hint, and whether a job is needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use klamm_types::{Offset, Timestamp};

use crate::compaction::trim::trim;
use crate::error::ReadError;
use crate::flush::Shared;
use crate::log::Log;
use crate::read::{ColdRead, Read, SegmentSlice, explain, locate};
use crate::scan::{BatchScan, HeaderWalk, ScanError, Wait};
use crate::segment::{Hint, ReadFault, Segment, SegmentView};
use crate::tail::BatchBytes;
use crate::timestamps::{Candidate, TimestampLookup};

/// So many closed segments keep their files open per log.
const RECENT_MAX: usize = 3;

impl Log {
    /// Whole batches from the one that holds `offset` on, as far as `max_bytes` go, all below `up_to` (exclusive). The
    /// first one comes whole even if it is larger. Empty at the log end or at the bound; stops at a segment's end.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] is to be reported as damage of this replica.
    pub fn read(&self, offset: Offset, max_bytes: usize, up_to: Offset) -> Result<Read, ReadError> {
        let end = self.log_end_offset();
        if offset < self.log_start || offset > end {
            let start = self.log_start;
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        let up_to = up_to.min(end);
        if offset >= up_to {
            return Ok(Read::Ready(BatchBytes::empty(offset)));
        }
        if let Some(batches) = self.tail.read(offset, max_bytes, up_to) {
            return Ok(Read::Ready(trim(batches, offset)));
        }
        let segment = self.segment_of(offset);
        self.touch(segment);
        let read = ColdRead {
            shared: self.shared.clone(),
            layout: self.shared.layout(),
            segment: segment.view(&self.config),
            hint: hint(segment, offset),
            offset,
            max_bytes,
            up_to,
        };
        read.try_now()
    }

    /// Where the batches that [`Log::read`] would give lie in the file, for `sendfile`. `None` unless they lie in a
    /// closed segment that has been checked since the process started; see [`Log::start_verify`].
    /// May wait for the disk a little.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn segment_slice(
        &self,
        offset: Offset,
        max_bytes: u64,
        up_to: Offset,
    ) -> Result<Option<SegmentSlice>, ReadError> {
        let end = self.log_end_offset();
        if offset < self.log_start || offset > end {
            let start = self.log_start;
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        let segment = self.segment_of(offset);
        if offset >= up_to.min(end) || segment.base == self.active().base || !segment.is_verified() {
            return Ok(None);
        }
        self.touch(segment);
        let view = segment.view(&self.config);
        let layout = self.shared.layout();
        slice(&view, offset, max_bytes, up_to).map_err(|fault| explain(fault, &self.shared, layout, &view, offset))
    }

    /// Checks the first closed segment that has not been checked since the process started.
    pub fn start_verify(&self) -> Option<VerifyJob> {
        let (_, closed) = self.segments.split_last()?;
        let segment = closed.iter().find(|segment| !segment.is_verified())?;
        Some(VerifyJob {
            shared: self.shared.clone(),
            layout: self.shared.layout(),
            segment: segment.view(&self.config),
            verified: segment.verified.clone(),
        })
    }

    /// Looks for the first record whose timestamp is at least `target`. The job opens batches and may wait.
    pub fn offset_for_timestamp(&self, target: Timestamp) -> TimestampLookup {
        let large = |segment: &&Segment| segment.max_timestamp >= target && segment.end > self.log_start;
        let candidate = |segment: &Segment| Candidate {
            entry: segment
                .times
                .find_pending(|entry| entry.timestamp <= target)
                .map(|entry| {
                    let offset = Offset(segment.base.0 + i64::from(entry.relative));
                    (entry, hint(segment, offset))
                }),
            segment: segment.view(&self.config),
        };
        TimestampLookup {
            shared: self.shared.clone(),
            layout: self.shared.layout(),
            candidates: self.segments.iter().filter(large).map(candidate).collect(),
            target,
            log_start: self.log_start,
        }
    }

    /// Looks for the first record with the largest timestamp of the log. Finds nothing if no record has a timestamp.
    pub fn max_timestamp_offset(&self) -> TimestampLookup {
        let served = self.segments.iter().filter(|segment| segment.end > self.log_start);
        let largest = served.map(|segment| segment.max_timestamp).max();
        // Batches without timestamps have -1, which is no time to look for.
        self.offset_for_timestamp(largest.filter(|max| !max.is_none()).unwrap_or(Timestamp(i64::MAX)))
    }

    /// The segment that holds an offset of the log; the open one for the log end.
    pub(crate) fn segment_of(&self, offset: Offset) -> &Segment {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        &self.segments[after.saturating_sub(1)]
    }

    /// Keeps account of closed segments whose files are opened by reads, and closes those used longest ago.
    fn touch(&self, segment: &Segment) {
        if segment.base == self.active().base {
            return;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|files| !Arc::ptr_eq(files, &segment.files));
        recent.push_back(segment.files.clone());
        while recent.len() > RECENT_MAX
            && let Some(oldest) = recent.pop_front()
        {
            // One with unflushed bytes stays open until they are flushed.
            let unflushed = self
                .segments
                .iter()
                .rev()
                .take_while(|segment| segment.end > self.flushed);
            if !unflushed
                .into_iter()
                .any(|segment| Arc::ptr_eq(&segment.files, &oldest))
            {
                oldest.release();
            }
        }
    }
}

pub(crate) fn hint(segment: &Segment, offset: Offset) -> Hint {
    let relative = segment.relative(offset);
    match segment.index.find_pending(|entry| entry.relative <= relative) {
        Some(entry) => Hint::Position(u64::from(entry.position)),
        None => Hint::IndexFile,
    }
}

fn slice(
    segment: &SegmentView,
    offset: Offset,
    max_bytes: u64,
    up_to: Offset,
) -> Result<Option<SegmentSlice>, ReadFault> {
    let first = locate(segment, Hint::IndexFile, offset, Wait::Allowed)?;
    if first.header.next_offset() > up_to {
        return Ok(None);
    }
    let whole = segment.end <= up_to && first.position.saturating_add(max_bytes) >= segment.size;
    let (size, next_offset) = match whole {
        true => (segment.size - first.position, segment.end),
        false => bounded(segment, first.position, max_bytes, up_to)?,
    };
    let extent = segment.extent(first.position, Wait::Allowed)?;
    Ok(Some(SegmentSlice {
        file: extent.file,
        position: first.position,
        size,
        next_offset,
    }))
}

/// How far whole batches go from `position` on: bytes, and the offset after them.
fn bounded(segment: &SegmentView, position: u64, max_bytes: u64, up_to: Offset) -> Result<(u64, Offset), ReadFault> {
    let mut walk = HeaderWalk::new(segment.extent(position, Wait::Allowed)?, None, Wait::Allowed);
    let (mut size, mut next) = (0, segment.base);
    while let Some((_, header)) = walk.next()? {
        let after = size + header.size() as u64;
        if header.next_offset() > up_to || (size > 0 && after > max_bytes) {
            break;
        }
        (size, next) = (after, header.next_offset());
    }
    Ok((size, next))
}

/// Checks every batch of one closed segment, after which it may be sent by `sendfile`.
#[derive(Debug)]
pub struct VerifyJob {
    shared: Arc<Shared>,
    layout: u64,
    segment: SegmentView,
    verified: Arc<AtomicBool>,
}

impl VerifyJob {
    /// The base offset of the segment.
    pub fn segment(&self) -> Offset {
        self.segment.base
    }

    /// Reads the segment through.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn run(self) -> Result<(), ReadError> {
        let explain = |fault, offset| explain(fault, &self.shared, self.layout, &self.segment, offset);
        let base = self.segment.base;
        let extent = self
            .segment
            .extent(0, Wait::Allowed)
            .map_err(|fault| explain(fault, base))?;
        let mut scan = BatchScan::new(extent, Some(base));
        let mut next = base;
        loop {
            match scan.next() {
                Ok(Some((_, batch))) => next = batch.next_offset(),
                Ok(None) => break,
                Err(error) => return Err(explain(ReadFault::Scan(error), next)),
            }
        }
        if next != self.segment.end {
            return Err(explain(
                ReadFault::Scan(ScanError::Io(std::io::ErrorKind::UnexpectedEof.into())),
                next,
            ));
        }
        if self.shared.layout() == self.layout {
            self.verified.store(true, Ordering::Release);
        }
        Ok(())
    }
}
