//! Which role this broker has in each partition, for those who wait until it leads or follows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use klamm_replication::Role;
use klamm_types::{LeaderEpoch, TopicPartition};
use tokio::sync::watch;

use crate::api::PartitionRole;

#[derive(Debug, Default)]
pub(crate) struct Board {
    roles: Mutex<HashMap<TopicPartition, Role>>,
    /// Counts the changes.
    changed: watch::Sender<u64>,
}

impl Board {
    pub fn set(&self, partition: TopicPartition, role: Role) {
        self.lock().insert(partition, role);
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn remove(&self, partition: TopicPartition) {
        self.lock().remove(&partition);
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn role(&self, partition: TopicPartition) -> Option<PartitionRole> {
        self.lock().get(&partition).map(|role| role_of(*role))
    }

    pub fn leads(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        match self.lock().get(&partition) {
            Some(Role::Leader { leader_epoch }) => Some(*leader_epoch),
            _ => None,
        }
    }

    /// Changes whenever a role does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How many partitions have taken up a role since they were opened.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Returns when `holds` is true of the role.
    pub async fn wait(&self, partition: TopicPartition, holds: impl Fn(Option<PartitionRole>) -> bool) {
        // Before the first look, so that no change falls between.
        let mut changed = self.watch();
        loop {
            if holds(self.role(partition)) {
                return;
            }
            // The sender lives as long as the board.
            let _ = changed.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TopicPartition, Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn role_of(role: Role) -> PartitionRole {
    match role {
        Role::None => PartitionRole::None,
        Role::Leader { .. } => PartitionRole::Leader,
        Role::Follower { .. } => PartitionRole::Follower,
        Role::Stopped => PartitionRole::Stopped,
    }
}
