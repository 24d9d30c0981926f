//! What a simulated disk can be told to do wrong, and when.

use std::io;
use std::path::Path;

use super::tree::SimState;

/// The operations that a fault can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Open,
    Read,
    Write,
    SetSize,
    SyncData,
    Rename,
    Remove,
    CreateDir,
    List,
    SyncDir,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// EIO, and nothing is done. A failed `sync_data` forgets the unflushed writes, as Linux does: readers go on
    /// seeing them, the next sync says Ok, and a power cut takes them, unless they are written again.
    Io,
    /// EIO after the first `keep` bytes of a write; as [`Effect::Io`] for other operations.
    Torn { keep: usize },
    /// ENOSPC after the first `keep` bytes of a write; other operations do nothing. A write over bytes that the file has
    /// finds their room.
    Full { keep: usize },
    /// The operation is done and the disk counts as stalled from then on.
    Stall,
    /// The power fails during the operation: it may or may not have happened, and all later ones fail until
    /// [`SimDisk::crash`](super::SimDisk::crash).
    PowerCut,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `None`: any.
    pub operation: Option<Operation>,
    /// Only paths that contain this; empty: any.
    pub path_contains: String,
    /// How many operations that match go well before.
    pub skip: u64,
    /// How many it strikes.
    pub times: u64,
    pub effect: Effect,
}

impl Fault {
    /// Strikes the next operation of one kind on a path that contains `path_contains`.
    pub fn next(operation: Operation, path_contains: &str, effect: Effect) -> Fault {
        Fault {
            operation: Some(operation),
            path_contains: path_contains.to_owned(),
            skip: 0,
            times: 1,
            effect,
        }
    }

    /// Cuts the power during the operation that follows `skip` others.
    pub fn power_cut_after(skip: u64) -> Fault {
        Fault {
            operation: None,
            path_contains: String::new(),
            skip,
            times: 1,
            effect: Effect::PowerCut,
        }
    }

    fn matches(&self, operation: Operation, path: &Path) -> bool {
        self.operation.is_none_or(|told| told == operation)
            && (self.path_contains.is_empty() || path.to_string_lossy().contains(&self.path_contains))
    }
}

/// What becomes of one operation.
pub(super) enum Verdict {
    Go,
    Fail(io::Error),
    /// It is done, in case of a write as far as `keep` bytes, and reported as failed.
    FailAfter {
        error: io::Error,
        keep: usize,
    },
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

pub(super) fn enospc() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
}

impl SimState {
    /// Counts an operation and finds out whether a fault strikes it.
    pub(super) fn begin(&mut self, operation: Operation, path: &Path) -> io::Result<Verdict> {
        if self.powered_off {
            return Err(io::Error::other("the simulated machine has no power"));
        }
        self.operations_count += 1;
        let mut struck = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.matches(operation, path)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if struck.is_none() && fault.times > 0 {
                fault.times -= 1;
                struck = Some(fault.effect);
            }
        }
        self.faults.retain(|fault| fault.times > 0);
        Ok(match struck {
            None => Verdict::Go,
            Some(Effect::Stall) => {
                self.stalled = true;
                Verdict::Go
            }
            Some(Effect::PowerCut) => {
                self.powered_off = true;
                let error = io::Error::other("the power of the simulated machine failed");
                Verdict::FailAfter {
                    error,
                    keep: usize::MAX,
                }
            }
            Some(Effect::Torn { keep }) if operation == Operation::Write => Verdict::FailAfter { error: eio(), keep },
            Some(Effect::Full { keep }) if operation == Operation::Write => {
                Verdict::FailAfter { error: enospc(), keep }
            }
            Some(Effect::Full { .. }) => Verdict::Fail(enospc()),
            Some(Effect::Io | Effect::Torn { .. }) => Verdict::Fail(eio()),
        })
    }
}
