//! Setting and removing the mark of unflushed records, on a thread that may wait for the disk.
//!
//! When it is set and removed the core decides. What is kept here is that a job which comes late never touches the
//! directory of another partition that has the same name.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use klamm_log::{Disk, DiskError, UnflushedMark};
use klamm_replication::Event;

use super::carry::chain;
use super::command::{Command, Events};
use super::context::Context;
use super::hosted::Hosted;

/// Shut once the partition's directory is given up. Held while the mark is changed.
#[derive(Debug, Default)]
pub(crate) struct MarkGate(Mutex<bool>);

impl MarkGate {
    /// From now on no job touches the directory; waits for one that does.
    pub fn shut(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn pass(&self, change: impl FnOnce() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *shut { Ok(()) } else { change() }
    }
}

/// What is to become of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Set,
    Remove,
}

impl Change {
    fn carry_out(self, disk: &dyn Disk, dir: &std::path::Path) -> Result<(), DiskError> {
        match self {
            Change::Set => UnflushedMark::set(disk, dir),
            Change::Remove => UnflushedMark::remove(disk, dir),
        }
    }

    fn done(self) -> Event {
        match self {
            Change::Set => Event::UnflushedMarkSet,
            Change::Remove => Event::UnflushedMarkRemoved,
        }
    }
}

/// Has a background thread change the mark. The core has at most one change of a partition under way, so the jobs are
/// bounded by the partitions.
pub(crate) fn change(ctx: &Context, hosted: &Hosted, change: Change) {
    let (shared, inbox, gate) = (Arc::clone(&ctx.shared), ctx.inbox(), Arc::clone(&hosted.mark_gate));
    let (partition, name) = (hosted.id, Arc::clone(&hosted.name));
    ctx.shared.background.submit_owed(move || {
        let dir = shared.config.data_dir.join(&*name);
        let changed = gate.pass(|| change.carry_out(shared.disk.as_ref(), &dir));
        let event = match changed {
            Ok(()) => change.done(),
            Err(error) => {
                tracing::error!(
                    partition = &*name,
                    error = chain(&error),
                    "changing the mark of unflushed records failed"
                );
                Event::DiskFailed
            }
        };
        // A worker that has ended needs no answer.
        let _ = inbox.push(Command::Events(Box::new(Events {
            events: VecDeque::from([(partition, event)]),
            pair: None,
            place: None,
        })));
    });
}
