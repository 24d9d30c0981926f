//! I17: what a core believes of itself is in order after each step.
//!
//! Every core lists its orderings in its own `validate`; an error in an answer that cannot go wrong belongs here, too.

use std::fmt::Display;

use crate::{Broken, Invariant};

/// A core's own check, or a call that cannot be refused, has failed.
pub fn core_orderings(problem: impl Display) -> Broken {
    Broken {
        invariant: Invariant::CoreOrderings,
        what: problem.to_string(),
    }
}
