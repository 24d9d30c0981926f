//! The batches of a log from an offset to its end, read from the files in order, for rebuilding what is derived from
//! them. A snapshot of the log as it was; it does not follow later appends.

use std::sync::Arc;

use klamm_record::Batch;
use klamm_types::Offset;

use crate::error::ReadError;
use crate::flush::Shared;
use crate::log::Log;
use crate::log_read::hint;
use crate::read::{explain, locate};
use crate::scan::{BatchScan, Wait};
use crate::segment::{Hint, ReadFault, SegmentView};

/// Iterates over batches; each has its checksum checked. Ends after the first error. Waits for the disk, and leaves
/// files open that [`Log::release_files`] closes.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    layout: u64,
    /// Last one first.
    segments: Vec<(SegmentView, Hint)>,
    current: Option<(SegmentView, BatchScan)>,
    next: Offset,
}

impl Log {
    /// The batches from the one that holds `from` on. `from` lies inside the log or at its end.
    pub(crate) fn replay(&self, from: Offset) -> Replay {
        let holds = self.segments.iter().filter(|segment| segment.end > from);
        let view = holds.map(|segment| (segment.view(&self.config), hint(segment, from.max(segment.base))));
        let mut segments: Vec<_> = view.collect();
        segments.reverse();
        Replay {
            shared: self.shared.clone(),
            layout: self.shared.layout(),
            segments,
            current: None,
            next: from,
        }
    }
}

impl Replay {
    /// The offset of the next batch, or the offset started from.
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    fn advance(&mut self) -> Result<Option<Batch>, ReadError> {
        loop {
            if let Some((view, scan)) = &mut self.current {
                match scan.next() {
                    Ok(Some((_, batch))) => return Ok(Some(batch)),
                    Ok(None) => self.current = None,
                    Err(error) => {
                        let fault = ReadFault::Scan(error);
                        return Err(explain(fault, &self.shared, self.layout, view, self.next));
                    }
                }
            }
            let Some((view, hint)) = self.segments.pop() else {
                return Ok(None);
            };
            match open(&view, hint, self.next) {
                Ok(scan) => self.current = Some((view, scan)),
                Err(fault) => return Err(explain(fault, &self.shared, self.layout, &view, self.next)),
            }
        }
    }
}

fn open(view: &SegmentView, hint: Hint, from: Offset) -> Result<BatchScan, ReadFault> {
    if from <= view.base {
        return Ok(BatchScan::new(view.extent(0, Wait::Allowed)?, Some(view.base)));
    }
    let place = locate(view, hint, from, Wait::Allowed)?;
    let extent = view.extent(place.position, Wait::Allowed)?;
    Ok(BatchScan::new(extent, Some(place.header.base_offset)))
}

impl Iterator for Replay {
    type Item = Result<Batch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.advance();
        match &step {
            Ok(Some(batch)) => self.next = batch.next_offset(),
            Ok(None) => {}
            Err(_) => {
                self.segments.clear();
                self.current = None;
            }
        }
        step.transpose()
    }
}
