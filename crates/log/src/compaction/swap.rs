//! The exchange: new files take the places of the old ones.

use std::sync::Arc;

use super::rewrite::{REPLACED, Rewritten, discard};
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
    /// How many bytes were read for it.
    pub bytes_read: u64,
}

/// How far the exchange has come.
#[derive(Debug)]
pub enum Exchanged {
    /// There are more segments: to be continued when others have had their turn.
    Partly(CompactedTo),
    Wholly(CompactionOutcome),
}

impl Log {
    /// Puts the files of one segment of a run in their places. Segments that retention has taken meanwhile are passed
    /// over, and so is everything if the log was cut. Readers that are under way finish, or are told to ask again.
    /// Waits for the disk, once.
    ///
    /// # Errors
    /// The disk failed, and with it the log, because nobody knows which of two files has a name.
    pub fn exchange_compacted(&mut self, mut done: CompactedTo) -> Result<Exchanged, ChangeError> {
        if self.failure() == Some(Failure::Flush) {
            done.discard();
            return Err(ChangeError::Failed(Failure::Flush));
        }
        if done.generation != self.shared.generation() {
            let outcome = done.outcome;
            done.discard();
            return Ok(Exchanged::Wholly(outcome));
        }
        let Some(rewritten) = done.rewritten.pop_front() else {
            self.compacted_to = self.compacted_to.max(done.offset);
            return Ok(Exchanged::Wholly(done.outcome));
        };
        let (_, closed) = self.segments.split_last().expect("a log has a segment at any time");
        match closed
            .iter()
            .position(|segment| Arc::ptr_eq(&segment.files, &rewritten.old))
        {
            Some(number) => {
                let freed = self.exchange(number, rewritten);
                done.outcome.bytes_freed += freed.inspect_err(|_| self.shared.fail(Failure::Flush))?;
                done.outcome.segments += 1;
            }
            None => {
                // Whatever is not removed now is removed by the next start.
                let _ = discard(&*self.disk, &self.dir, rewritten.segment.base);
            }
        }
        Ok(Exchanged::Partly(done))
    }

    /// As [`Log::exchange_compacted`], for all segments, for callers that may wait.
    ///
    /// # Errors
    /// As there.
    pub fn finish_compaction(&mut self, mut done: CompactedTo) -> Result<CompactionOutcome, ChangeError> {
        loop {
            match self.exchange_compacted(done)? {
                Exchanged::Partly(rest) => done = rest,
                Exchanged::Wholly(outcome) => return Ok(outcome),
            }
        }
    }

    /// Returns how many bytes the segment takes less.
    fn exchange(&mut self, number: usize, rewritten: Rewritten) -> Result<u64, DiskError> {
        let base = rewritten.segment.base;
        self.shared.next_layout();
        for suffix in REPLACED {
            let from = names::replacement(&self.dir, base, suffix);
            let to = names::path(&self.dir, base, suffix);
            let renamed = self.disk.rename(&from, &to).map_err(DiskError::at("renaming", &from));
            // Afterwards: a flush under way may have synced the directory just before.
            self.shared.directory_changed();
            renamed?;
        }
        // Before the next segment: what a tombstone there deletes must be gone for good.
        // Whatever a flush beside this one has synced or is still syncing.
        self.disk
            .sync_dir(&self.dir)
            .map_err(DiskError::at("syncing the directory", &self.dir))?;
        let freed = self.segments[number].size.saturating_sub(rewritten.segment.size);
        self.segments[number] = rewritten.segment;
        rewritten.old.release();
        let recent = self.recent.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.retain(|files| !Arc::ptr_eq(files, &rewritten.old));
        Ok(freed)
    }
}
