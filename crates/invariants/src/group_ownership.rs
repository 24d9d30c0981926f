//! I10: per generation a partition has one owner.
//!
//! Classic members own in a generation, KIP-848 members in a member epoch. A member that has not heard of a newer one
//! may go on believing in the older; its commits are refused then.

use std::collections::BTreeMap;

use crate::{Broken, Invariant, broken};

/// Of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupOwnership {
    /// By generation, topic-partition as the watcher numbers them.
    owners: BTreeMap<(i32, i32), String>,
}

impl GroupOwnership {
    /// A member takes the partition for its own in this generation.
    ///
    /// # Errors
    /// So does another one.
    pub fn claimed(&mut self, generation: i32, partition: i32, owner: &str) -> Result<(), Broken> {
        let known = self
            .owners
            .entry((generation, partition))
            .or_insert_with(|| owner.to_owned());
        if known == owner {
            return Ok(());
        }
        let what = format!("partition {partition} has two owners in generation {generation}: {known} and {owner}");
        broken(Invariant::GroupOwnership, what)
    }
}
