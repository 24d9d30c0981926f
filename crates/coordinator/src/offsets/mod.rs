//! Committed offsets: what is kept, and what the offset and group APIs answer.
//!
//! * `store`: the offsets of a shard, by group, topic and partition;
//! * `pending`: offsets of transactions that have not ended;
//! * `commit`, `fetch`, `delete`: OffsetCommit, OffsetFetch, OffsetDelete and DeleteGroups;
//! * `expiry`: offsets that nobody needs any more, because of their age or because their topic is gone;
//! * `describe`: ListGroups, and DescribeGroups of classic groups.
//!
//! Who may commit is the groups' to say (`validate_commit` of each kind); a group that only has offsets has no rules
//! and no members: it is an empty classic group without a protocol type. Whether topics may be named is the front
//! end's, which knows who asks.

mod commit;
#[cfg(test)]
mod commit_test;
#[cfg(test)]
mod consumer_test;
mod delete;
#[cfg(test)]
mod delete_test;
mod describe;
#[cfg(test)]
mod describe_test;
mod expiry;
#[cfg(test)]
mod expiry_test;
mod fetch;
#[cfg(test)]
mod fetch_test;
mod pending;
mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use commit::commit;
pub use delete::{delete, delete_group};
pub use describe::{describe_group, list_groups};
pub use expiry::{RECORDS_PER_DECISION_MAX, expire, forget_deleted_topics};
pub use fetch::fetch;
pub use pending::{Pending, TransactionEnd};
pub use store::Offsets;
