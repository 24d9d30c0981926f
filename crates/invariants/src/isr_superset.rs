//! I5: what is committed is held by every member of the ISR, and by the minimum of them.
//!
//! Every member may be elected at once, and the minimum says how many machines may die. *Held* means what the topic's
//! level counts: flushed, or written by the run of the process that is registered.

use klamm_types::{HighWatermark, NodeId, Offset};

use crate::{Broken, Invariant, broken};

/// How far one replica holds a log, as somebody from outside sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub node: NodeId,
    pub is_in_sync: bool,
    /// `None`: it cannot be told.
    pub up_to: Option<Offset>,
}

/// A leader has moved its high watermark to here. `minimum`: so many copies are due.
///
/// # Errors
/// A member of the ISR holds less, or too few replicas hold as much.
pub fn isr_superset(high_watermark: HighWatermark, replicas: &[Held], minimum: usize) -> Result<(), Broken> {
    let due = Offset::from(high_watermark);
    let lacking = |held: &&Held| held.is_in_sync && held.up_to.is_some_and(|up_to| up_to < due);
    if let Some(held) = replicas.iter().find(lacking) {
        let up_to = held.up_to.unwrap_or_default();
        let node = held.node;
        let what = format!("the high watermark is {high_watermark}, broker {node} of the ISR holds only {up_to}");
        return broken(Invariant::IsrSuperset, what);
    }
    // Who cannot be told counts as a copy: only what is certain is held against the leader.
    let copies = replicas
        .iter()
        .filter(|held| held.up_to.is_none_or(|up_to| up_to >= due))
        .count();
    if copies >= minimum {
        return Ok(());
    }
    let what = format!("the high watermark is {high_watermark}, held by {copies} replicas instead of {minimum}");
    broken(Invariant::IsrSuperset, what)
}
