//! I16: loss, damage and failure are reported only where they were made.
//!
//! Whoever makes the faults knows where they are. A report of one that nobody made means that a core has made it itself,
//! or that it takes what is whole for broken.

use crate::{Broken, Invariant};

/// Something was reported, and nobody made it.
pub fn no_false_alarm(what: impl Into<String>) -> Broken {
    Broken {
        invariant: Invariant::NoFalseAlarm,
        what: what.into(),
    }
}
