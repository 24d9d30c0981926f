//! The exchange: new files take the places of the old ones.

use std::sync::Arc;

use super::rewrite::{REPLACED, Rewritten};
use super::run::CompactedTo;
use crate::error::{ChangeError, DiskError, Failure};
use crate::log::Log;
use crate::names;

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionOutcome {
    /// How many segments have new files.
    pub segments: usize,
    /// How many bytes they take less.
    pub bytes_freed: u64,
}

impl Log {
    /// Puts the files of a run in their places. Segments that retention has taken meanwhile are passed over, and so is
    /// everything if the log was cut. Readers that are under way finish, or are told to ask again. Waits for the disk.
    ///
    /// # Errors
    /// The disk failed, and with it the log, because nobody knows which of two files has a name.
    pub fn finish_compaction(&mut self, done: CompactedTo) -> Result<CompactionOutcome, ChangeError> {
        if self.failure() == Some(Failure::Flush) {
            return Err(ChangeError::Failed(Failure::Flush));
        }
        let shared = self.shared.clone();
        if done.generation != shared.generation() {
            done.discard();
            return Ok(CompactionOutcome::default());
        }
        let mut outcome = CompactionOutcome::default();
        let mut done = done;
        for rewritten in std::mem::take(&mut done.rewritten) {
            let (_, closed) = self.segments.split_last().expect("a log has a segment at any time");
            match closed
                .iter()
                .position(|segment| Arc::ptr_eq(&segment.files, &rewritten.old))
            {
                Some(number) => {
                    outcome.bytes_freed += self
                        .exchange(number, rewritten)
                        .inspect_err(|_| shared.fail(Failure::Flush))?;
                    outcome.segments += 1;
                }
                None => {
                    let _ = super::rewrite::discard(&*self.disk, &self.dir, rewritten.segment.base);
                }
            }
        }
        self.compacted_to = self.compacted_to.max(done.offset);
        Ok(outcome)
    }

    /// Returns how many bytes the segment takes less.
    fn exchange(&mut self, number: usize, rewritten: Rewritten) -> Result<u64, DiskError> {
        let base = rewritten.segment.base;
        self.shared.next_layout();
        self.shared.directory_changed();
        for suffix in REPLACED {
            let from = names::replacement(&self.dir, base, suffix);
            let to = names::path(&self.dir, base, suffix);
            self.disk.rename(&from, &to).map_err(DiskError::at("renaming", &from))?;
        }
        // Before the next segment: what a tombstone there deletes must be gone for good.
        self.shared.sync_dir(&*self.disk, &self.dir)?;
        let freed = self.segments[number].size.saturating_sub(rewritten.segment.size);
        self.segments[number] = rewritten.segment;
        rewritten.old.release();
        let recent = self.recent.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.retain(|files| !Arc::ptr_eq(files, &rewritten.old));
        Ok(freed)
    }
}
