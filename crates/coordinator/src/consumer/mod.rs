//! The KIP-848 protocol: the coordinator assigns, members reconcile in heartbeats.
//!
//! ```text
//!  heartbeat ─► checks ─► member (type 5) ─► group epoch (3) ─► targets (7, 6) ─► the member's step (8) ─► answer
//! ```
//!
//! Every heartbeat carries the whole decision; nothing waits. [`classic`] lets members of the classic protocol into a
//! group of this kind, [`migration`] turns a group of one kind into the other with its members in it.
//!
//! What differs from Apache Kafka: patterns are resolved in the heartbeat that brings them; a member is told to
//! heartbeat soon while the group moves; a member whose answers are lost is told again and never fenced for it, nor is
//! a static member that repeats its join.

pub mod assignor;
pub mod classic;
pub mod group;
pub mod member;
pub mod migration;
pub mod pattern;

mod apply;
mod commit;
mod consumer_protocol;
mod describe;
mod heartbeat;
mod leave;
mod reconcile;
mod refresh;
mod step;
mod targets;

use crate::draft::Draft;

pub use apply::{Transient, apply_record, apply_transient};
pub use classic::{classic_heartbeat, classic_join, classic_leave, classic_sync};
pub use commit::CommitScope;
pub use describe::describe;
pub use group::Group;
pub use heartbeat::{heartbeat, refuse_heartbeat};
pub use refresh::{tick, topics_changed};

/// A group without members is no group of this kind any more, or none at all. Its offsets stay.
pub fn remove_empty(draft: &mut Draft<'_>) {
    let name = draft.name().to_owned();
    let tombstones = heartbeat::consumer(draft).map(|group| group.tombstones(&name));
    for tombstone in tombstones.unwrap_or_default() {
        draft.record(tombstone);
    }
}

#[cfg(test)]
mod classic_test;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod group_test;
#[cfg(test)]
mod migration_test;
#[cfg(test)]
mod mixed_test;
#[cfg(test)]
mod property_test;
#[cfg(test)]
mod rules_test;
#[cfg(test)]
mod scale_test;
#[cfg(test)]
mod special_test;
#[cfg(test)]
pub(crate) mod world;
