//! Which role this broker has in each partition, for those who wait until it leads or follows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use klamm_replication::Role;
use klamm_types::TopicPartition;
use tokio::sync::Notify;

use crate::api::PartitionRole;

#[derive(Debug, Default)]
pub(crate) struct Board {
    roles: Mutex<HashMap<TopicPartition, Role>>,
    changed: Notify,
}

impl Board {
    pub fn set(&self, partition: TopicPartition, role: Role) {
        self.lock().insert(partition, role);
        self.changed.notify_waiters();
    }

    pub fn remove(&self, partition: TopicPartition) {
        self.lock().remove(&partition);
        self.changed.notify_waiters();
    }

    pub fn role(&self, partition: TopicPartition) -> Option<PartitionRole> {
        self.lock().get(&partition).map(|role| role_of(*role))
    }

    /// How many partitions have taken up a role since they were opened.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Returns when `holds` is true of the role.
    pub async fn wait(&self, partition: TopicPartition, holds: impl Fn(Option<PartitionRole>) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change falls between.
            changed.as_mut().enable();
            if holds(self.role(partition)) {
                return;
            }
            changed.await;
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
