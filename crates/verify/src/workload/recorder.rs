//! Who is told what happens in a run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::anomaly::Reader;
use crate::history::{History, Read, Sent};
use crate::judge::Event;
use crate::monitor::Monitor;

/// Is told every event of a run, from several tasks. `at` counts from the start of the run.
pub trait Recorder: Send + Sync + 'static {
    /// MUST NOT block: producers and readers wait for it.
    fn note(&self, at: Duration, partition: i32, event: Event);

    /// From handing a record to the producer to its acknowledgement.
    fn latency(&self, latency: Duration) {
        let _ = latency;
    }
}

/// Keeps everything: for runs of minutes that are looked into afterwards.
#[derive(Debug, Default)]
pub(super) struct HistoryRecorder(Mutex<History>);

impl HistoryRecorder {
    pub fn take(&self) -> History {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Recorder for HistoryRecorder {
    fn note(&self, _at: Duration, partition: i32, event: Event) {
        let mut history = lock(&self.0);
        let partition = history.partition(partition);
        match event {
            Event::Settled { value, outcome } => partition.sent.push(Sent { value, outcome }),
            Event::Read {
                reader: Reader::Partition(reader),
                offset,
                value,
            } => partition.reads.entry(reader).or_default().push(Read { offset, value }),
            _ => {}
        }
    }
}

/// Keeps what a monitor keeps: for runs of any length.
#[derive(Debug)]
pub struct Live(Mutex<Monitor>);

impl Live {
    pub fn new(monitor: Monitor) -> Live {
        Live(Mutex::new(monitor))
    }

    /// Nothing is told while the guard is held.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        lock(&self.0)
    }
}

impl Recorder for Live {
    fn note(&self, at: Duration, partition: i32, event: Event) {
        self.monitor().step(at, partition, event);
    }

    fn latency(&self, latency: Duration) {
        self.monitor().latencies.add(latency);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
