//! The two clocks, as the cores want them. The only place under `partitions` that asks what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klamm_replication::Now;
use klamm_types::{Moment, Timestamp};

/// Counts from the moment at which it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    pub fn moment(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub fn now(&self) -> Now {
        Now {
            moment: self.moment(),
            wall: wall(),
        }
    }

    /// The instant at which `moment` is.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + Duration::from_micros(moment.0)
    }
}

/// Milliseconds since 1970.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
