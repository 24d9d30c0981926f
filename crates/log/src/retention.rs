//! Deleting old segments, and the start of the log.
//!
//! Segments go from the front, whole, and never above the high watermark. Their files get another name at once and are
//! removed later, so that readers who hold them finish; when to remove them is told by the job's delay. A reader that is
//! slower still keeps its file: then it only loses its name.

use std::path::PathBuf;
use std::sync::Arc;

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{HighWatermark, Offset, Timestamp};

use crate::disk::{Disk, PIECE_BYTES, remove_if_present, remove_if_present_in_pieces};
use crate::error::{ChangeError, DiskError, Failure};
use crate::files::SegmentFiles;
use crate::log::Log;
use crate::names;
use crate::segment::Segment;
use crate::snapshots;

/// Segments that are no longer part of the log.
#[derive(Debug)]
pub struct Retired {
    /// Their base offsets.
    pub segments: Vec<Offset>,
    pub bytes: u64,
    /// The log start offset now, to be stored by the caller.
    pub log_start_offset: Offset,
    pub remove: RemoveJob,
}

/// Removes the files of deleted segments. Run it once `delay_ms` have passed; if it is never run, the next start
/// removes them.
#[derive(Debug)]
pub struct RemoveJob {
    pub delay_ms: u64,
    disk: Arc<dyn Disk>,
    segments: Vec<Removed>,
}

/// The files of a segment, which no reader finds any more.
#[derive(Debug)]
struct Removed {
    paths: Vec<PathBuf>,
    files: Arc<SegmentFiles>,
}

impl RemoveJob {
    /// Large files go in pieces, with a call of `rest` after each: whoever calls leaves the disk to others there.
    ///
    /// # Errors
    /// Files that could not be removed are removed at the next start.
    pub fn run(self, rest: &mut dyn FnMut()) -> Result<(), DiskError> {
        self.run_in_pieces(PIECE_BYTES, rest)
    }

    pub(crate) fn run_in_pieces(self, piece: u64, rest: &mut dyn FnMut()) -> Result<(), DiskError> {
        let disk = &*self.disk;
        for segment in &self.segments {
            for path in &segment.paths {
                // A reader must not see its file shrink: it would take that for damage.
                let removed = match segment.files.are_used() {
                    true => remove_if_present(disk, path),
                    false => remove_if_present_in_pieces(disk, path, piece, rest),
                };
                removed.map_err(DiskError::at("removing", path))?;
            }
        }
        Ok(())
    }
}

impl Log {
    /// Moves the log start, up to the log end; a lower offset changes nothing. Storing it is the caller's business.
    /// Segments below it go with the next [`Log::delete_old_segments`].
    ///
    /// # Errors
    /// [`ChangeError::OutOfRange`] above the log end.
    pub fn advance_log_start(&mut self, offset: Offset) -> Result<(), ChangeError> {
        let (start, end) = (self.log_start, self.log_end_offset());
        if offset > end {
            return Err(ChangeError::OutOfRange { offset, start, end });
        }
        self.log_start = start.max(offset);
        Ok(())
    }

    /// Deletes segments that lie below the log start, whose newest record is older than `retention.ms`, or that are
    /// too much for `retention.bytes`. Nothing at or above the high watermark goes. If all that is left is too old,
    /// the open segment is closed and goes too. `None` if there was nothing to delete. Waits for the disk.
    ///
    /// # Errors
    /// The disk failed, and with it the log. A full disk is passed over as long as there is something to delete.
    pub fn delete_old_segments(
        &mut self,
        now: Timestamp,
        high_watermark: HighWatermark,
    ) -> Result<Option<Retired>, ChangeError> {
        // A full disk or a damaged log is no reason to keep what may go.
        if self.failure() == Some(Failure::Flush) {
            return Err(ChangeError::Failed(Failure::Flush));
        }
        let mut count = self.expired(now, high_watermark);
        if count == 0 {
            return Ok(None);
        }
        if count == self.segments.len() {
            let rolled = match self.failure() {
                None => self.roll().map_err(ChangeError::from),
                Some(failure) => Err(ChangeError::Failed(failure)),
            };
            if let Err(error) = rolled {
                // On a full disk the others go first, which makes room for the next try.
                count -= 1;
                if count == 0 {
                    return Err(error);
                }
            }
        }
        let shared = self.shared.clone();
        self.retire(count)
            .map(Some)
            .inspect_err(|_| shared.fail(Failure::Flush))
    }

    /// How many segments may go from the front; the open one is among them only if it has expired.
    fn expired(&self, now: Timestamp, high_watermark: HighWatermark) -> usize {
        let mut surplus = match self.config.retention_bytes {
            Some(max) => self.size_bytes().saturating_sub(max),
            None => 0,
        };
        let is_old = |segment: &Segment| match self.config.retention_ms {
            // Without any timestamp nobody knows how old it is.
            Some(max) if !segment.max_timestamp.is_none() => now.0.saturating_sub(segment.max_timestamp.0) > max,
            _ => false,
        };
        let open = self.segments.len() - 1;
        let mut count = 0;
        for segment in &self.segments {
            let committed = segment.end <= Offset(high_watermark.0) && !segment.is_empty();
            let end = match is_planted(Bug::DeleteOneSegmentMore) {
                true => Offset(segment.base.0 + 1),
                false => segment.end,
            };
            let below_start = count < open && end <= self.log_start;
            let too_much = count < open && surplus >= segment.size && surplus > 0;
            if !committed || !(below_start || too_much || is_old(segment)) {
                break;
            }
            surplus = surplus.saturating_sub(segment.size);
            count += 1;
        }
        count
    }

    /// Renames the files of the first `count` segments. One at a time and each made durable, because after a power
    /// cut a gap in the middle would look like damage.
    fn retire(&mut self, count: usize) -> Result<Retired, ChangeError> {
        let mut retired = Retired {
            segments: Vec::new(),
            bytes: 0,
            log_start_offset: self.log_start,
            remove: RemoveJob {
                delay_ms: self.config.file_delete_delay_ms,
                disk: self.disk.clone(),
                segments: Vec::new(),
            },
        };
        for _ in 0..count {
            let base = self.segments[0].base;
            let paths = self.rename_segment(base)?;
            let segment = self.segments.remove(0);
            segment.files.release();
            let files = Arc::clone(&segment.files);
            retired.remove.segments.push(Removed { paths, files });
            retired.segments.push(base);
            retired.bytes += segment.size;
            self.log_start = self.log_start.max(segment.end);
        }
        let start = self.segments[0].base;
        self.flushed = self.flushed.max(start);
        self.epochs.forget_below(start);
        while let Some(&offset) = self.snapshots.first()
            && offset < start
        {
            snapshots::remove(&*self.disk, &self.dir, offset)?;
            self.snapshots.remove(0);
        }
        retired.log_start_offset = self.log_start;
        Ok(retired)
    }

    /// Says what the files are called now.
    fn rename_segment(&self, base: Offset) -> Result<Vec<PathBuf>, DiskError> {
        let mut renamed = Vec::new();
        self.shared.directory_changed();
        for suffix in names::SEGMENT_FILES {
            let from = names::path(&self.dir, base, suffix);
            let to = names::path(&self.dir, base, &format!("{suffix}{}", names::DELETED));
            match self.disk.rename(&from, &to) {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && suffix != names::LOG => {}
                Err(error) => return Err(DiskError::at("renaming", &from)(error)),
            }
        }
        self.shared.sync_dir(&*self.disk, &self.dir)?;
        Ok(renamed)
    }
}
