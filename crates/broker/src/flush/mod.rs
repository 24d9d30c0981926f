//! Threads for what may block on a disk: flushes on threads of their own, cold reads and housekeeping on others.
//!
//! A pool runs jobs in the order they came and knows nothing of partitions. Group commit is made by the worker that
//! owns a partition: while a flush of it runs, it asks for no second one, and the next covers all that was written
//! meanwhile. So at most one flush per partition is in here, and the queue needs no bound of its own.
//! A pool tells how long its oldest job has been running or waiting, so that a stalled disk can be seen.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The pool is at its bound, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("submitting a job to threads that already have as many as they may")]
    Full,
    #[error("submitting a job to threads that have ended")]
    Closed,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<(Instant, u64, Job)>,
    /// What waits or runs, oldest first.
    open: BTreeSet<(Instant, u64)>,
    next_number: u64,
    closed: bool,
    dropped: bool,
}

struct Shared {
    state: Mutex<State>,
    ready: Condvar,
    open_max: usize,
}

/// How a pool is made.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Names the threads.
    pub name: &'static str,
    pub threads: usize,
    /// Jobs that may wait or run at one time.
    pub open_max: usize,
}

/// Threads that run jobs. Dropping it runs what waits, then joins the threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub fn start(config: PoolConfig) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            ready: Condvar::new(),
            open_max: config.open_max.max(1),
        });
        let mut pool = Pool {
            shared,
            threads: Vec::new(),
        };
        for index in 0..config.threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("{}-{index}", config.name));
            pool.threads.push(builder.spawn(move || shared.run())?);
        }
        Ok(pool)
    }

    /// Has `job` run by one of the threads. Never waits.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), SubmitError> {
        let state = self.shared.lock();
        if state.closed {
            return Err(SubmitError::Closed);
        }
        if state.open.len() >= self.shared.open_max {
            return Err(SubmitError::Full);
        }
        self.enqueue(state, Box::new(job));
        Ok(())
    }

    /// As `submit`, but for jobs that must be run and of which there is at most one per partition: they are bounded
    /// by that, and still taken after `close`, until the pool is dropped.
    pub fn submit_owed(&self, job: impl FnOnce() + Send + 'static) {
        self.enqueue(self.shared.lock(), Box::new(job));
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, job: Job) {
        let number = state.next_number;
        state.next_number += 1;
        let now = Instant::now();
        state.open.insert((now, number));
        state.waiting.push_back((now, number, job));
        drop(state);
        self.shared.ready.notify_one();
    }

    /// How long the oldest job that is not done has been here; none if there is none.
    pub fn oldest(&self) -> Option<Duration> {
        let oldest = self.shared.lock().open.first().map(|&(since, _)| since);
        oldest.map(|since| since.elapsed())
    }

    /// Jobs that wait or run.
    pub fn open(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// Takes no more jobs. What waits is still run.
    pub fn close(&self) {
        self.shared.lock().closed = true;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.dropped = true;
        drop(state);
        self.shared.ready.notify_all();
        let own = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // A job may hold the last reference to its pool; a thread cannot join itself.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let Some((since, number, job)) = state.waiting.pop_front() else {
                if state.dropped {
                    return;
                }
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            job();
            state = self.lock();
            state.open.remove(&(since, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn runs_in_order_within_its_bound_and_tells_the_age() {
        let pool = Pool::start(PoolConfig {
            name: "test",
            threads: 1,
            open_max: 2,
        })
        .unwrap();
        assert_eq!(pool.oldest(), None);
        let (release, gate) = mpsc::channel::<()>();
        let (done, order) = mpsc::channel();
        let first = done.clone();
        pool.submit(move || {
            gate.recv().unwrap();
            first.send(1).unwrap();
        })
        .unwrap();
        let second = done.clone();
        pool.submit(move || second.send(2).unwrap()).unwrap();
        assert_eq!(pool.submit(|| ()), Err(SubmitError::Full));
        assert!(pool.oldest().is_some() && pool.open() == 2);
        release.send(()).unwrap();
        assert_eq!((order.recv(), order.recv()), (Ok(1), Ok(2)));
        pool.close();
        assert_eq!(pool.submit(|| ()), Err(SubmitError::Closed));
    }

    #[test]
    fn dropping_runs_what_waits() {
        let pool = Pool::start(PoolConfig {
            name: "test",
            threads: 2,
            open_max: 100,
        })
        .unwrap();
        let (done, results) = mpsc::channel();
        for number in 0..50 {
            let done = done.clone();
            pool.submit(move || done.send(number).unwrap()).unwrap();
        }
        drop(pool);
        drop(done);
        let mut seen: Vec<i32> = results.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    }
}
