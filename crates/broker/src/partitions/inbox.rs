//! The queue in front of one worker thread: many senders, one thread that takes everything at once.
//!
//! What comes from clients and followers pays for its place first (`admit`), so the queue is bounded in bytes and
//! a sender waits without blocking its thread. What the broker tells itself (flush completions, answers, metadata)
//! is bounded by its nature and never waits: a worker that waited for another could wait for itself.
//! The queue knows nothing of partitions.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for so many bytes.
const BYTES_PER_PERMIT: usize = 1024;

/// The worker has ended; nothing that is sent is handled any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sending to a partition worker that has ended")]
pub struct Closed;

/// A place in the queue, paid for. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    closed: bool,
}

#[derive(Debug)]
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    places: Arc<Semaphore>,
    places_max: usize,
}

impl<T> Inbox<T> {
    /// A queue that admits about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        let places_max = (bytes_max / BYTES_PER_PERMIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                closed: false,
            }),
            ready: Condvar::new(),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
        }
    }

    /// Waits until the queue has room for `bytes`. Something larger than the whole queue waits until it is empty.
    pub async fn admit(&self, bytes: usize) -> Result<Place, Closed> {
        let wanted = bytes.div_ceil(BYTES_PER_PERMIT).clamp(1, self.places_max);
        let permit = Arc::clone(&self.places).acquire_many_owned(wanted as u32).await;
        permit.map(Place).map_err(|_| Closed)
    }

    /// Puts an item at the end. Never waits.
    pub fn push(&self, item: T) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        let was_empty = state.queue.is_empty();
        state.queue.push_back(item);
        drop(state);
        if was_empty {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Takes all there is into `taken`, which must be empty. Waits until something comes or `deadline` passes;
    /// without a deadline it waits for something. `Closed` once the queue is closed and empty.
    pub fn take(&self, taken: &mut VecDeque<T>, deadline: Option<Instant>) -> Result<(), Closed> {
        let mut state = self.lock();
        loop {
            if !state.queue.is_empty() {
                std::mem::swap(&mut state.queue, taken);
                return Ok(());
            }
            if state.closed {
                return Err(Closed);
            }
            let Some(deadline) = deadline else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let waited = self.ready.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Refuses all that comes from now on; what is in the queue can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.places.close();
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_in_order_and_ends_when_closed() {
        let inbox = Inbox::new(1024);
        for item in 0..3 {
            assert_eq!(inbox.push(item), Ok(()));
        }
        let mut taken = VecDeque::new();
        assert_eq!(inbox.take(&mut taken, None), Ok(()));
        assert_eq!(taken, [0, 1, 2]);
        taken.clear();
        assert_eq!(inbox.take(&mut taken, Some(Instant::now())), Ok(()));
        assert!(taken.is_empty());
        assert_eq!(inbox.push(3), Ok(()));
        inbox.close();
        assert_eq!(inbox.push(4), Err(Closed));
        assert_eq!(inbox.take(&mut taken, None), Ok(()));
        assert_eq!(taken, [3]);
        taken.clear();
        assert_eq!(inbox.take(&mut taken, None), Err(Closed));
    }

    #[tokio::test]
    async fn admits_by_bytes() {
        let inbox: Inbox<u8> = Inbox::new(4096);
        let first = inbox.admit(3000).await.unwrap();
        let second = inbox.admit(1).await.unwrap();
        let third = inbox.admit(1_000_000);
        tokio::pin!(third);
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(first);
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(second);
        assert!(third.await.is_ok());
        inbox.close();
        assert!(inbox.admit(1).await.is_err());
    }

    #[test]
    fn a_sleeping_taker_is_woken() {
        let inbox = Arc::new(Inbox::new(1024));
        let taker = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || {
            let mut taken = VecDeque::new();
            taker.take(&mut taken, None).map(|()| taken)
        });
        inbox.push(7).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(VecDeque::from([7])));
    }
}
