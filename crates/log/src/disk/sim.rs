//! A disk in memory that does what real ones do on bad days, and only when told: it loses, tears and keeps unflushed
//! writes at a power cut, forgets directory changes that were not synced, flips bits, fails, fills up and stalls.
//!
//! It is deterministic: it has no clock and draws no random numbers; where something is left to chance the caller
//! chooses. Its whole state is a value, [`SimState`], that can be copied and put back. It does not model speed.

mod crash;
mod faults;
mod file;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Effect, Fault, Operation};
pub use tree::SimState;

use self::faults::Verdict;
use self::file::SimFile;
use self::tree::{Node, NodeId};
use super::{DirectoryEntry, Disk, DiskFile, EntryKind, OpenMode, Space};

/// A handle to a simulated disk. Copies of the handle are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<SimState>>,
}

/// Whether files are in the memory of the simulated machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageCache {
    /// Reads never wait.
    #[default]
    Warm,
    /// Reads that must not wait give nothing.
    Cold,
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// A disk that holds what `state` holds. Files that were open when the state was taken are closed.
    pub fn from_state(mut state: SimState) -> SimDisk {
        state.close_handles();
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A copy of everything that the disk holds and is told to do.
    pub fn state(&self) -> SimState {
        self.lock().clone()
    }

    /// Cuts the power and starts the machine again. What was not synced survives as `choose` decides: it is given a
    /// count `n` and returns a number below it. All open files are closed, faults and a stall end.
    pub fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) {
        self.lock().crash(choose);
    }

    /// The process died and the machine lives: open files are closed and nothing else happens.
    pub fn kill(&self) {
        self.lock().close_handles();
    }

    /// Tells the disk to fail later on.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Takes back all faults that have not struck; they can be told again. A power cut that struck stays until
    /// [`SimDisk::crash`].
    pub fn take_faults(&self) -> Vec<Fault> {
        std::mem::take(&mut self.lock().faults)
    }

    /// How many bytes all files together may have; `None`: any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// From now on the disk counts as stalled: who drives the simulation holds back what waits for it.
    pub fn stall(&self) {
        self.lock().stalled = true;
    }

    pub fn resume(&self) {
        self.lock().stalled = false;
    }

    /// Whether an operation would hang now. Nothing hangs by itself, because there is no time in here.
    pub fn is_stalled(&self) -> bool {
        self.lock().stalled
    }

    /// Whether a power cut has struck and [`SimDisk::crash`] is due.
    pub fn is_powered_off(&self) -> bool {
        self.lock().powered_off
    }

    pub fn set_page_cache(&self, page_cache: PageCache) {
        self.lock().page_cache = page_cache;
    }

    /// Operations so far: what [`Fault::skip`] counts when it names neither operation nor path.
    pub fn operations_count(&self) -> u64 {
        self.lock().operations_count
    }

    /// File and directory syncs that succeeded so far.
    pub fn syncs_count(&self) -> u64 {
        self.lock().syncs_count
    }

    /// The size of a file, `None` if there is none.
    pub fn file_size(&self, path: &Path) -> Option<u64> {
        let state = self.lock();
        let id = state.resolve(path).ok()?;
        state.file(id).ok().map(|file| file.bytes.len() as u64)
    }

    /// Turns one bit of a file over, on the platter itself. Says whether there was such a bit.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> bool {
        self.edit_bytes(path, position, 1, |bytes| bytes[0] ^= 1 << (bit & 7))
    }

    /// Puts zeros over a part of a file, on the platter itself. Says whether the whole part lay inside the file.
    pub fn zero(&self, path: &Path, position: u64, size: usize) -> bool {
        self.edit_bytes(path, position, size, |bytes| bytes.fill(0))
    }

    fn edit_bytes(&self, path: &Path, position: u64, size: usize, edit: impl Fn(&mut [u8])) -> bool {
        let mut state = self.lock();
        let Ok(id) = state.resolve(path) else { return false };
        let Ok(file) = state.file_mut(id) else { return false };
        let Ok(start) = usize::try_from(position) else {
            return false;
        };
        let Some(part) = file.bytes.get_mut(start..start.saturating_add(size)) else {
            return false;
        };
        edit(part);
        if let Some(part) = file.durable.get_mut(start..start + size) {
            edit(part);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, SimState> {
        // A panic elsewhere is a failed test already; the state is a plain value and stays usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and changes the tree, unless a fault is due.
    fn change<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut SimState) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        match state.begin(operation, path)? {
            Verdict::Go => act(&mut state),
            Verdict::Fail(error) => Err(error),
            // The power fails while the change is under way: whether it happened is decided by the crash.
            Verdict::FailAfter { error, .. } => act(&mut state).and(Err(error)),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let (id, boot) = self.change(Operation::Open, path, |state| {
            let id = match (state.resolve(path), mode) {
                (Ok(_), OpenMode::New) => return Err(io::ErrorKind::AlreadyExists.into()),
                (Ok(id), _) => id,
                (Err(error), OpenMode::Create | OpenMode::New) if error.kind() == io::ErrorKind::NotFound => {
                    state.create(path, Node::file())?
                }
                (Err(error), _) => return Err(error),
            };
            state.file_mut(id)?.handles += 1;
            Ok((id, state.boot))
        })?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            id,
            boot,
            mode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Operation::Rename, from, |state| state.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove, path, |state| state.remove(path, EntryKind::File))
    }

    fn is_sole_name(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove, path, |state| {
            state.remove(path, EntryKind::Directory)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::CreateDir, path, |state| match state.resolve(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => state.create(path, Node::directory()).map(|_| ()),
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.change(Operation::List, path, |state| state.list(path))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.lock();
        let capacity = state.capacity.unwrap_or(u64::MAX);
        Ok(Space {
            capacity,
            available: capacity.saturating_sub(state.used),
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        match state.begin(Operation::SyncDir, path)? {
            Verdict::Go => state.sync_dir(path),
            Verdict::Fail(error) | Verdict::FailAfter { error, .. } => Err(error),
        }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

/// What a handle says after the machine it belonged to was restarted.
fn stale(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{} was opened before the machine restarted",
        PathBuf::from(path).display()
    ))
}

impl SimDisk {
    /// Gives the id back if the handle's machine is still up.
    fn alive(&self, file: &SimFile) -> io::Result<NodeId> {
        match self.lock().boot == file.boot {
            true => Ok(file.id),
            false => Err(stale(&file.path)),
        }
    }
}
