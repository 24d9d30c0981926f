//! What is above the recovery point is written again at a start: only then does a later sync prove anything.
//!
//! A sync may fail once, or the kernel may fail to write pages that no sync has asked for yet. It then holds them for
//! clean, as if they were on the disk, reports the error to those who have the file open, and forgets it. A process that
//! is started on the same boot reads such pages from memory, and its syncs succeed without writing anything. Nobody can
//! ask the kernel which pages these are; dropping them from its cache would be to choose the loss. So the very bytes
//! that have just been checked are written over themselves: the pages are dirty again, and the next flush writes them or
//! fails. A power cut meanwhile finds the same bytes or those that were never flushed.
//!
//! What lies below the recovery point was synced without an error and is left alone.

use std::io::IoSlice;
use std::sync::Arc;

use klamm_record::Batch;
use klamm_types::Offset;
use klamm_types::planted::{Bug, is_planted};

use crate::error::DiskError;
use crate::files::{Part, SegmentFiles, disk_error};

/// So many bytes are gathered for one write.
const WRITE_BYTES: usize = 1 << 20;

/// Writes batches of one segment to where they are.
#[derive(Debug)]
pub(super) struct Rewrite {
    files: Arc<SegmentFiles>,
    /// Batches that end at or below it stay untouched.
    above: Offset,
    /// Where the first of those that wait begins.
    position: u64,
    waiting: Vec<Batch>,
    bytes: usize,
}

impl Rewrite {
    pub fn new(files: &Arc<SegmentFiles>, above: Offset) -> Rewrite {
        Rewrite {
            files: files.clone(),
            above,
            position: 0,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a checked batch that lies at `position`. They come in the order of the file and without gaps.
    pub fn take(&mut self, position: u64, batch: Batch) -> Result<(), DiskError> {
        if batch.next_offset() <= self.above || is_planted(Bug::TrustPageCache) {
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.position = position;
        }
        self.bytes += batch.size();
        self.waiting.push(batch);
        match self.bytes >= WRITE_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Writes what waits.
    pub fn write(&mut self) -> Result<(), DiskError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let file = self.files.open(Part::Log)?;
        let buffers: Vec<IoSlice<'_>> = self.waiting.iter().map(|batch| IoSlice::new(batch.bytes())).collect();
        file.write_at(&buffers, self.position)
            .map_err(disk_error("writing again", &self.files, Part::Log))?;
        self.waiting.clear();
        self.bytes = 0;
        Ok(())
    }
}
