//! The cases, one file per group of APIs.

mod api_versions;
mod configs;
mod fetch;
mod groups;
mod list_offsets;
mod metadata;
mod produce;
mod produce_batches;
mod producer_ids;
mod quorum;
mod raw;
mod topics;

use klamm_types::Uuid;

use crate::case::Case;

/// All cases, in the order in which they run.
pub fn all() -> Vec<Case> {
    let parts = [
        api_versions::cases(),
        metadata::cases(),
        produce::cases(),
        produce_batches::cases(),
        producer_ids::cases(),
        fetch::cases(),
        list_offsets::cases(),
        topics::cases(),
        configs::cases(),
        quorum::cases(),
        groups::cases(),
        raw::cases(),
    ];
    parts.into_iter().flatten().collect()
}

/// An id that no topic has.
fn unknown_id() -> Uuid {
    Uuid::from_u128(0x7777)
}

/// Names that no topic may have.
fn bad_names() -> Vec<(&'static str, String)> {
    vec![
        ("empty", String::new()),
        ("a dot", ".".into()),
        ("two dots", "..".into()),
        ("a blank", "a b".into()),
        ("a letter beyond ASCII", "kläm".into()),
        ("250 characters", "n".repeat(250)),
    ]
}
