//! The files of one segment, opened on demand and shared by the log and the jobs that read or flush it.
//!
//! Keeps no count of open files; the log drops handles that it does not need (see `Log::release_files`).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use klamm_types::Offset;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::DiskError;
use crate::names;

/// Which of a segment's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Log,
    Index,
    TimeIndex,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Part::Log => names::LOG,
            Part::Index => names::INDEX,
            Part::TimeIndex => names::TIME_INDEX,
        }
    }
}

/// How many places of sequential readers are remembered per segment.
const CURSORS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    base: Offset,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    handles: [Option<Arc<dyn DiskFile>>; 3],
    /// Handles that were given back while a job used them.
    lent: Vec<Weak<dyn DiskFile>>,
    /// Where reads ended, because the next one mostly goes on there. A hint: readers check what they find.
    cursors: VecDeque<(Offset, u64)>,
}

impl SegmentFiles {
    pub fn new(disk: Arc<dyn Disk>, dir: Arc<Path>, base: Offset) -> Arc<SegmentFiles> {
        Arc::new(SegmentFiles {
            disk,
            dir,
            base,
            state: Mutex::default(),
        })
    }

    pub fn base(&self) -> Offset {
        self.base
    }

    pub fn path(&self, part: Part) -> PathBuf {
        names::path(&self.dir, self.base, part.suffix())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file if it is open already.
    pub fn opened(&self, part: Part) -> Option<Arc<dyn DiskFile>> {
        self.state().handles[part as usize].clone()
    }

    /// The file, which must exist.
    pub fn open(&self, part: Part) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open_with(part, OpenMode::Write)
    }

    /// The file, made if it does not exist.
    pub fn create(&self, part: Part) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open_with(part, OpenMode::Create)
    }

    /// The file, if it exists.
    pub fn open_if_present(&self, part: Part) -> Result<Option<Arc<dyn DiskFile>>, DiskError> {
        match self.open(part) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn open_with(&self, part: Part, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut state = self.state();
        if let Some(file) = &state.handles[part as usize] {
            return Ok(file.clone());
        }
        let path = self.path(part);
        let file = self.disk.open(&path, mode).map_err(DiskError::at("opening", &path))?;
        state.handles[part as usize] = Some(file.clone());
        Ok(file)
    }

    /// Closes what no job is using.
    pub fn release(&self) {
        let mut state = self.state();
        for part in [Part::Log, Part::Index, Part::TimeIndex] {
            state.close(part);
        }
    }

    /// Closes the batches' file if no job is using it.
    pub fn release_log(&self) {
        self.state().close(Part::Log);
    }

    /// Whether a job still uses one of the files.
    pub fn are_used(&self) -> bool {
        let state = self.state();
        let mut open = state.handles.iter().flatten();
        open.any(|handle| Arc::strong_count(handle) > 1) || state.lent.iter().any(|file| file.strong_count() > 0)
    }

    /// Where the batch with this base offset probably begins.
    pub fn cursor(&self, offset: Offset) -> Option<u64> {
        let state = self.state();
        let found = state.cursors.iter().rev().find(|(at, _)| *at == offset);
        found.map(|(_, position)| *position)
    }

    /// Remembers that a read that began at `from` ended before `next`, which lies at `position`.
    pub fn remember(&self, from: Offset, next: Offset, position: u64) {
        let mut state = self.state();
        state.cursors.retain(|(at, _)| *at != from && *at != next);
        if state.cursors.len() == CURSORS_MAX {
            state.cursors.pop_front();
        }
        state.cursors.push_back((next, position));
    }
}

impl State {
    fn close(&mut self, part: Part) {
        self.lent.retain(|file| file.strong_count() > 0);
        if let Some(handle) = self.handles[part as usize].take()
            && Arc::strong_count(&handle) > 1
        {
            self.lent.push(Arc::downgrade(&handle));
        }
    }
}

pub(crate) fn disk_error<'a>(
    act: &'static str,
    files: &'a SegmentFiles,
    part: Part,
) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| DiskError {
        act,
        path: files.path(part),
        source,
    }
}
