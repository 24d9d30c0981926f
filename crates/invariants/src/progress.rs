//! I18: when the weather turns good everything becomes whole, within a bound.
//!
//! Whole: every replica runs, is in sync and holds the same; nobody waits; readers and groups are at the end.

use std::fmt::Display;
use std::time::Duration;

use crate::{Broken, Invariant};

/// So long after the last fault something is still missing.
pub fn progress(after: Duration, missing: impl Display) -> Broken {
    Broken {
        invariant: Invariant::Progress,
        what: format!("not whole {} ms after the last fault: {missing}", after.as_millis()),
    }
}
