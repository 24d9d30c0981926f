//! The budget of memory for requests, shared by all connections.
//!
//! A connection's first few KiB are free, so that idle connections and small requests never wait here; what lies
//! above is taken from the budget before it is allocated and goes back when the request is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget counts in these, so that its numbers fit the semaphore's.
const UNIT_BYTES: usize = 1024;

/// Bytes to be had for requests.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    wait_max: Duration,
}

/// There was no memory for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a request within {0:?}")]
pub(crate) struct Exhausted(Duration);

impl Budget {
    pub fn new(bytes: usize, wait_max: Duration) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize);
        Self {
            units: Arc::new(Semaphore::new(units)),
            wait_max,
        }
    }

    /// A hold of nothing, to be grown.
    pub fn hold(&self) -> Hold {
        Hold {
            budget: self.clone(),
            permit: None,
        }
    }

    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES
    }
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Hold {
    /// Makes the hold at least so large; waits its turn if the budget is used up.
    pub async fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(self.units());
        if missing == 0 {
            return Ok(());
        }
        let wait_max = self.budget.wait_max;
        let missing = u32::try_from(missing).map_err(|_| Exhausted(wait_max))?;
        let acquire = self.budget.units.clone().acquire_many_owned(missing);
        let permit = match tokio::time::timeout(wait_max, acquire).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(Exhausted(wait_max)),
        };
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }

    /// Takes up to so many bytes out into a hold of their own.
    pub fn split(&mut self, bytes: usize) -> Hold {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units());
        let permit = self.permit.as_mut().and_then(|permit| permit.split(units));
        Hold {
            budget: self.budget.clone(),
            permit,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.units() == 0
    }

    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hold_grows_splits_and_goes_back() {
        let budget = Budget::new(10 * UNIT_BYTES, Duration::from_secs(1));
        let mut hold = budget.hold();
        assert!(hold.is_empty());
        hold.grow_to(6 * UNIT_BYTES).await.unwrap();
        hold.grow_to(5 * UNIT_BYTES).await.unwrap();
        assert_eq!(budget.free_bytes(), 4 * UNIT_BYTES);
        let part = hold.split(2 * UNIT_BYTES - 1);
        drop(hold);
        assert_eq!(budget.free_bytes(), 8 * UNIT_BYTES);
        let mut other = budget.hold();
        assert_eq!(
            other.grow_to(9 * UNIT_BYTES).await,
            Err(Exhausted(Duration::from_secs(1)))
        );
        drop(part);
        assert_eq!(other.grow_to(9 * UNIT_BYTES).await, Ok(()));
    }
}
