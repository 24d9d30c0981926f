//! Group APIs: coordinators, classic and KIP-848 groups with their members, and their offsets.

mod administration;
mod commit;
mod consumer;
mod consumer_offsets;
mod consumer_patterns;
mod consumer_static;
mod delete_offsets;
mod elsewhere;
mod expiry;
mod fetch_offsets;
mod heartbeat;
mod join;
mod join_static;
mod living;
mod members;
mod migration;
mod requests;
mod sync;

use crate::case::Case;

pub fn cases() -> Vec<Case> {
    let parts = [
        elsewhere::cases(),
        join::cases(),
        join_static::cases(),
        sync::cases(),
        members::cases(),
        commit::cases(),
        fetch_offsets::cases(),
        delete_offsets::cases(),
        administration::cases(),
        consumer::cases(),
        consumer_static::cases(),
        consumer_offsets::cases(),
        migration::cases(),
        expiry::cases(),
    ];
    parts.into_iter().flatten().collect()
}
