//! What happened in a run, in its order, and the limits of real time: a seed that takes too long fails with this.
//!
//! Virtual time stands still while a task spins, and the tick that it spins in never ends: then only another thread can
//! tell, and it ends the process.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// What a seed may take; on an idle machine it takes about a second.
const SEED_TIME_MAX: Duration = Duration::from_secs(120);
/// What its last tick may take beyond that.
const TICK_TIME_MAX: Duration = Duration::from_secs(30);

/// Clones are handles on the same lines.
#[derive(Clone, Default)]
pub struct Timeline {
    now_ms: Arc<AtomicU64>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Timeline {
    pub fn set_now(&self, at_ms: u64) {
        self.now_ms.store(at_ms, Ordering::Relaxed);
    }

    pub fn say(&self, what: impl Display) {
        let line = format!("{:>6} {what}", self.now_ms.load(Ordering::Relaxed));
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sees to it that a run ends; its thread ends with it.
pub struct Watchdog {
    begin: Instant,
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    pub fn begin(seed: u64, timeline: Timeline) -> Watchdog {
        let (alive, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if ended.recv_timeout(SEED_TIME_MAX + TICK_TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                let lines = timeline.lines().join("\n");
                let now_ms = timeline.now_ms.load(Ordering::Relaxed);
                // Not by a macro: the test's output would end with the process.
                let text = format!("{lines}\nseed {seed}: the tick at {now_ms} ms does not end: a task spins\n");
                let _ = std::io::stderr().write_all(text.as_bytes());
                std::process::abort();
            }
        });
        Watchdog {
            begin: Instant::now(),
            _alive: alive,
        }
    }

    pub fn check(&self) -> Result<(), String> {
        match self.begin.elapsed() > SEED_TIME_MAX {
            true => Err(format!("the run took longer than {SEED_TIME_MAX:?} of real time")),
            false => Ok(()),
        }
    }
}
