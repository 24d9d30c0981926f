//! An open file of a simulated disk.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::faults::{Operation, Verdict, enospc};
use super::tree::{FileChange, FileNode, NodeId, SimState};
use super::{PageCache, SimDisk};
use crate::disk::{DiskFile, OpenMode};

#[derive(Debug)]
pub(super) struct SimFile {
    pub disk: SimDisk,
    pub path: PathBuf,
    pub id: NodeId,
    pub boot: u64,
    pub mode: OpenMode,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.boot == self.boot
            && let Ok(file) = state.file_mut(self.id)
        {
            file.handles = file.handles.saturating_sub(1);
        }
    }
}

fn index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl SimFile {
    fn may_write(&self) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::ErrorKind::PermissionDenied.into()),
            OpenMode::Write | OpenMode::Create | OpenMode::New => Ok(()),
        }
    }
}

/// Changes a file and keeps account of the space.
fn change(state: &mut SimState, id: NodeId, change: FileChange) -> io::Result<()> {
    let file = state.file_mut(id)?;
    let before = file.bytes.len() as u64;
    file.change(change);
    let after = file.bytes.len() as u64;
    state.used = (state.used + after).saturating_sub(before);
    Ok(())
}

/// How many of `size` bytes at `position` fit on the disk.
fn room(state: &SimState, file: &FileNode, position: usize, size: usize) -> usize {
    let Some(capacity) = state.capacity else { return size };
    let free = usize::try_from(capacity.saturating_sub(state.used)).unwrap_or(usize::MAX);
    let end_max = file.bytes.len().saturating_add(free);
    size.min(end_max.saturating_sub(position))
}

impl DiskFile for SimFile {
    fn write_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.may_write()?;
        let id = self.disk.alive(self)?;
        let mut state = self.disk.lock();
        let (mut keep, mut result) = match state.begin(Operation::Write, &self.path)? {
            Verdict::Go => (usize::MAX, Ok(())),
            Verdict::Fail(error) => (0, Err(error)),
            Verdict::FailAfter { error, keep } => (keep, Err(error)),
        };
        let mut bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        let position = index(position)?;
        let file = state.file(id)?;
        let has_its_place = position.saturating_add(bytes.len()) <= file.bytes.len();
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        if has_its_place && result.as_ref().is_err_and(is_full) {
            (keep, result) = (usize::MAX, Ok(()));
        }
        let fits = room(&state, file, position, bytes.len());
        if fits < bytes.len().min(keep) {
            (keep, result) = (fits, Err(enospc()));
        }
        bytes.truncate(keep);
        if !bytes.is_empty() {
            change(&mut state, id, FileChange::Write { position, bytes })?;
        }
        result
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let id = self.disk.alive(self)?;
        let mut state = self.disk.lock();
        match state.begin(Operation::Read, &self.path)? {
            Verdict::Go => {}
            Verdict::Fail(error) | Verdict::FailAfter { error, .. } => return Err(error),
        }
        let bytes = &state.file(id)?.bytes;
        let start = index(position)?.min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn read_at_nowait(&self, buffer: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let (page_cache, stalled) = {
            let state = self.disk.lock();
            (state.page_cache, state.stalled)
        };
        match page_cache {
            PageCache::Warm if !stalled => self.read_at(buffer, position).map(Some),
            PageCache::Warm | PageCache::Cold => Ok(None),
        }
    }

    fn size(&self) -> io::Result<u64> {
        let id = self.disk.alive(self)?;
        Ok(self.disk.lock().file(id)?.bytes.len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.may_write()?;
        let id = self.disk.alive(self)?;
        let mut state = self.disk.lock();
        let result = match state.begin(Operation::SetSize, &self.path)? {
            Verdict::Go => Ok(()),
            Verdict::Fail(error) => return Err(error),
            Verdict::FailAfter { error, .. } => Err(error),
        };
        change(&mut state, id, FileChange::Size(index(size)?))?;
        result
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let start = self.size()?;
        let zeros = vec![0; index(size.saturating_sub(start))?];
        self.write_at(&[IoSlice::new(&zeros)], start)
    }

    fn sync_data(&self) -> io::Result<()> {
        let id = self.disk.alive(self)?;
        let mut state = self.disk.lock();
        let verdict = state.begin(Operation::SyncData, &self.path)?;
        let cut = state.powered_off;
        let file = state.file_mut(id)?;
        match verdict {
            Verdict::Go => file.sync(),
            // The power failed: the crash decides what of the writes is kept.
            Verdict::FailAfter { error, .. } if cut => return Err(error),
            Verdict::Fail(error) | Verdict::FailAfter { error, .. } => {
                file.forget_writes();
                return Err(error);
            }
        }
        state.syncs_count += 1;
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
