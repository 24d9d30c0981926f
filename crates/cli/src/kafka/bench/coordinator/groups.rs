//! One group of the measurement: commits, looks, comes back after its coordinator's death.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use klamm_client::admin::Admin;
use klamm_client::{CommittedOffset, Offset, TopicPartition};

use super::ledger::{Rounds, Wrong, offset};
use crate::kafka::bench::latency::micros;

/// How long one group was without its coordinator.
pub(super) struct Outage {
    pub fetched_us: u32,
    pub committed_us: u32,
}

/// See the module.
pub(super) struct Group {
    name: String,
    partitions: Vec<TopicPartition>,
    rounds: Mutex<Rounds>,
    /// Held while a commit is under way, retries included: an old round must not be repeated after a newer one.
    committing: tokio::sync::Mutex<()>,
}

impl Group {
    /// So many groups under names that nobody had before.
    pub fn many(count: u32, topic: &str, partitions: i32) -> Vec<Arc<Group>> {
        let run = rand::random::<u32>();
        let topic: Arc<str> = topic.into();
        let one = |number| Group {
            name: format!("klamm-bench-{run:08x}-{number}"),
            partitions: (0..partitions)
                .map(|partition| TopicPartition::new(Arc::clone(&topic), partition))
                .collect(),
            rounds: Mutex::default(),
            committing: tokio::sync::Mutex::default(),
        };
        (0..count).map(|number| Arc::new(one(number))).collect()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn rounds(&self) -> Rounds {
        *self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Rounds)) {
        change(&mut self.rounds.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Commits the next round, with all retries.
    pub async fn commit(&self, admin: &Admin) -> anyhow::Result<()> {
        let _committing = self.committing.lock().await;
        let round = self.rounds().tried + 1;
        self.change(|rounds| rounds.tried = round);
        let offsets: BTreeMap<_, _> = self
            .partitions
            .iter()
            .map(|key| {
                (
                    key.clone(),
                    CommittedOffset::new(Offset(offset(round, key.partition.0))),
                )
            })
            .collect();
        let refused = admin
            .alter_group_offsets(&self.name, &offsets)
            .await
            .context("committing")?;
        ensure!(refused.is_empty(), "commits of {} were refused: {refused:?}", self.name);
        self.change(|rounds| rounds.acknowledged = round);
        Ok(())
    }

    /// Fetches all offsets, with all retries, and judges them.
    pub async fn look(&self, admin: &Admin) -> anyhow::Result<Wrong> {
        let before = self.rounds();
        let found = admin.list_group_offsets(&self.name).await.context("fetching offsets")?;
        let offsets: BTreeMap<i32, i64> = found
            .into_iter()
            .map(|(key, committed)| (key.partition.0, committed.offset.0))
            .collect();
        let count = i32::try_from(self.partitions.len()).unwrap_or(i32::MAX);
        let wrong = before.judge(self.rounds().tried, count, |partition| offsets.get(&partition).copied());
        if !wrong.is_nothing() {
            tracing::error!(group = self.name, ?before, ?wrong, "offsets are not what was committed");
        }
        Ok(wrong)
    }

    /// Fetches and commits again, however long it takes.
    pub async fn come_back(&self, admin: &Admin, began: Instant) -> anyhow::Result<(Outage, Wrong)> {
        let wrong = self.look(admin).await?;
        let fetched_us = micros(began.elapsed());
        self.commit(admin).await?;
        let outage = Outage {
            fetched_us,
            committed_us: micros(began.elapsed()),
        };
        Ok((outage, wrong))
    }
}
