//! One thread that looks after what nobody asks for: checkpoints, retention, compaction, and the room on the disk.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::carry::chain;
use super::command::{Command, applying_for_thread};
use super::shared::Shared;
use crate::space::{Level, Room};

/// How often logs are looked at that are to be compacted.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(15);
/// How long the housekeeper waits for workers to hand over their marks.
const MARKS_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often the room on the disk is looked at.
const SPACE_INTERVAL: Duration = Duration::from_millis(250);
/// How often segments past their retention are looked for while the disk is full.
const RETENTION_INTERVAL_FULL: Duration = Duration::from_secs(5);

/// What has to be done when, and what was done.
struct Due {
    checkpoint: Instant,
    retention: Instant,
    compaction: Instant,
    /// The level that was told last; a write that found no room has changed it without telling.
    told: Level,
}

/// Goes on until it is told to stop.
pub(super) fn keep_house(shared: &Arc<Shared>, stopped: &mpsc::Receiver<()>) {
    let now = Instant::now();
    let mut due = Due {
        checkpoint: now + shared.config.checkpoint_interval,
        retention: now + shared.config.retention_interval,
        compaction: now + COMPACTION_INTERVAL,
        told: Level::Ample,
    };
    let pause = shared.config.checkpoint_interval.min(SPACE_INTERVAL);
    loop {
        match stopped.recv_timeout(pause) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        look_at_the_room(shared, &mut due);
        if is_due(&mut due.checkpoint, shared.config.checkpoint_interval) {
            gather_marks(shared);
            if let Err(error) = shared.checkpoints.write() {
                tracing::error!(error = chain(&error), "writing the checkpoints failed");
            }
        }
        let level = shared.space.level();
        let retention = match level >= Level::Full {
            true => shared.config.retention_interval.min(RETENTION_INTERVAL_FULL),
            false => shared.config.retention_interval,
        };
        if is_due(&mut due.retention, retention) {
            tell_all(shared, || Command::Retain);
        }
        // Compaction writes before it deletes.
        if level < Level::ReadOnly && is_due(&mut due.compaction, COMPACTION_INTERVAL) {
            tell_all(shared, || Command::Compact);
        }
    }
}

fn is_due(due: &mut Instant, interval: Duration) -> bool {
    let now = Instant::now();
    let is_due = now >= *due;
    if is_due {
        *due = now + interval;
    }
    is_due
}

fn tell_all(shared: &Shared, command: impl Fn() -> Command) {
    for worker in &shared.workers {
        let _ = worker.push(command());
    }
}

fn look_at_the_room(shared: &Arc<Shared>, due: &mut Due) {
    if let Err(error) = shared.space.look() {
        tracing::debug!(
            error = chain(&error),
            "the room on the disk, or its reserve, is not as it should be"
        );
    }
    let room = shared.space.room();
    if room.level == due.told {
        return;
    }
    tell(due.told, &room);
    due.told = room.level;
    if room.level >= Level::Full {
        due.retention = Instant::now();
    }
    if room.level == Level::ReadOnly {
        // Leaders need not send what is not taken.
        shared.links.drop_all(shared);
    }
}

fn tell(before: Level, room: &Room) {
    let (available, capacity) = (room.available >> 20, room.capacity >> 20);
    let consequence = match room.level {
        Level::Ample => "records are taken",
        Level::Low => "records are taken; free some space soon",
        Level::Full => "producers are refused until there is room; retention and deletes go on",
        Level::ReadOnly => "nothing is appended until there is room; reads, retention and deletes go on",
    };
    let (from, to) = (before.name(), room.level.name());
    if room.level > before {
        tracing::warn!(
            from,
            to,
            available_mib = available,
            capacity_mib = capacity,
            "disk space: {consequence}"
        );
    } else {
        tracing::info!(
            from,
            to,
            available_mib = available,
            capacity_mib = capacity,
            "disk space: {consequence}"
        );
    }
}

/// Has every worker hand over the marks of what was written, and waits a moment for them.
fn gather_marks(shared: &Shared) {
    let (guard, done) = applying_for_thread();
    for worker in &shared.workers {
        let _ = worker.push(Command::Checkpoint {
            applying: Arc::clone(&guard),
        });
    }
    drop(guard);
    let _ = done.recv_timeout(MARKS_WAIT_MAX);
}
