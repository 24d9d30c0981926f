//! Writes down why groups did what they did, in `__klamm_group_history`.
//!
//! A group's history lies in the partition of the same number as its shard, and the topic has the replicas of
//! `__consumer_offsets`, so the coordinator nearly always leads it too. Where it does not, just after an election,
//! entries wait here, a bounded number of them. The history is best effort: what is lost is counted, and no group ever
//! waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use klamm_coordinator::history::{Entry, History};
use klamm_metadata::Image;
use klamm_record::{BatchBuilder, BatchOptions};
use klamm_types::{LeaderEpoch, PartitionId, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::load::Source;
use super::{HISTORY_TOPIC, Inner, shard_number};
use crate::api::{Acks, ProduceRequest, topic_partition};

/// Entries that may wait for the historian; a shard that finds the queue full goes on without.
pub(super) const QUEUE_MAX: usize = 4096;
/// Entries that may wait for a partition that another broker leads.
const WAITING_MAX: usize = 4096;
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// Entries forgotten in one sweep of one partition.
const SWEEP_MAX: usize = 10_000;
const ENTRIES_PER_BATCH_MAX: usize = 500;

/// A record of the topic: a key, and a value or a tombstone.
type KeyValue = (bytes::Bytes, Option<bytes::Bytes>);

/// See the module.
pub(super) struct Historian {
    inner: Weak<Inner>,
    waiting: VecDeque<Entry>,
    /// What was loaded, for as long as this broker leads in the epoch.
    loaded: BTreeMap<PartitionId, (LeaderEpoch, History)>,
}

impl Historian {
    pub fn new(inner: Weak<Inner>) -> Historian {
        Historian {
            inner,
            waiting: VecDeque::new(),
            loaded: BTreeMap::new(),
        }
    }

    /// Runs until the runtime stops.
    pub async fn run(mut self, mut entries: mpsc::Receiver<Entry>) {
        let Some(inner) = self.inner.upgrade() else { return };
        let (mut roles, mut stopping) = (inner.partitions.roles_changed(), inner.stopping.subscribe());
        drop(inner);
        let mut sweep = interval_at(Instant::now() + SWEEP_INTERVAL, SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let sweeping = tokio::select! {
                _ = stopping.changed() => return,
                count = entries.recv_many(&mut batch, ENTRIES_PER_BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    false
                }
                changed = roles.changed(), if !self.waiting.is_empty() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
                _ = sweep.tick() => true,
            };
            self.waiting.extend(batch.drain(..));
            let Some(inner) = self.inner.upgrade() else { return };
            if sweeping {
                self.sweep(&inner).await;
            }
            self.write(&inner).await;
        }
    }

    /// Appends what waits, as far as this broker leads.
    async fn write(&mut self, inner: &Arc<Inner>) {
        if self.waiting.is_empty() {
            return;
        }
        let image = inner.shown.image();
        if image.topic_by_name(HISTORY_TOPIC).is_none() {
            inner.internal_topics.create_history_topic(&image);
        }
        let mut by_partition: BTreeMap<PartitionId, Vec<Entry>> = BTreeMap::new();
        let mut left = VecDeque::new();
        for entry in self.waiting.drain(..) {
            match led_partition(inner, &image, &entry.group) {
                Some(partition) => by_partition.entry(partition).or_default().push(entry),
                None => left.push_back(entry),
            }
        }
        self.waiting = left;
        for (partition, entries) in by_partition {
            let count = entries.len() as u64;
            if self.append(inner, &image, partition, &entries).await.is_some() {
                inner.metrics.history_entries.add(count);
            } else {
                self.loaded.remove(&partition);
                inner.metrics.history_lost.add(count);
            }
        }
        let surplus = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..surplus);
        inner.metrics.history_lost.add(surplus as u64);
    }

    async fn append(&mut self, inner: &Inner, image: &Image, partition: PartitionId, entries: &[Entry]) -> Option<()> {
        let source = source(inner, image, partition)?;
        let history = self.history(inner, partition, &source).await?;
        let records = entries.iter().map(|entry| {
            let (key, value) = history.append(entry);
            (key, Some(value))
        });
        let records: Vec<KeyValue> = records.collect();
        write_records(&source, &records).await
    }

    /// Forgets what has had its time.
    async fn sweep(&mut self, inner: &Arc<Inner>) {
        let image = inner.shown.image();
        let retention = i64::try_from(inner.config.history_retention.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(inner.partitions.clock().now().wall.0.saturating_sub(retention));
        for partition in (0..inner.shard_count(&image)).map(PartitionId) {
            let Some(source) = source(inner, &image, partition) else {
                self.loaded.remove(&partition);
                continue;
            };
            let Some(history) = self.history(inner, partition, &source).await else {
                continue;
            };
            let keys = history.outdated(oldest, SWEEP_MAX).into_iter();
            let tombstones: Vec<KeyValue> = keys.map(|key| (key, None)).collect();
            if !tombstones.is_empty() && write_records(&source, &tombstones).await.is_none() {
                self.loaded.remove(&partition);
            }
        }
    }

    /// The slots of a partition, read from its log if they are not known in this leader epoch.
    async fn history(&mut self, inner: &Inner, partition: PartitionId, source: &Source) -> Option<&mut History> {
        let known = self.loaded.get(&partition);
        if known.is_none_or(|(epoch, _)| *epoch != source.leader_epoch) {
            let mut history = History::new(inner.config.history_entries);
            let mut take = |key: Option<&bytes::Bytes>, value: Option<&bytes::Bytes>| {
                let key = key.map_or(&[][..], |key| &key[..]);
                if let Err(error) = history.replay(key, value.map(|value| &value[..])) {
                    tracing::debug!(%error, "an entry of a group's history is not understood and is passed over");
                }
            };
            if let Err(error) = source.each_record(&mut take).await {
                tracing::debug!(%partition, %error, "the history of groups cannot be read just now");
                return None;
            }
            self.loaded.insert(partition, (source.leader_epoch, history));
        }
        self.loaded.get_mut(&partition).map(|(_, history)| history)
    }
}

/// The history partition of a group, if this broker leads it.
fn led_partition(inner: &Inner, image: &Image, group: &str) -> Option<PartitionId> {
    let topic = image.topic_by_name(HISTORY_TOPIC)?;
    let number = shard_number(group, topic)?;
    inner.partitions.leads(topic_partition(topic.id, number.0))?;
    Some(number)
}

fn source(inner: &Inner, image: &Image, partition: PartitionId) -> Option<Source> {
    let topic = image.topic_by_name(HISTORY_TOPIC)?;
    let partition = topic_partition(topic.id, partition.0);
    Some(Source {
        partitions: inner.partitions.clone(),
        partition,
        leader_epoch: inner.partitions.leads(partition)?,
    })
}

async fn write_records(source: &Source, records: &[KeyValue]) -> Option<()> {
    let wall = source.partitions.clock().now().wall;
    let mut batch = BatchBuilder::new(BatchOptions::default());
    for (key, value) in records {
        batch.append(wall, Some(key), value.as_deref(), &[]).ok()?;
    }
    let request = ProduceRequest {
        partition: source.partition,
        records: batch.build().ok()?.into_bytes(),
        acks: Acks::All,
        timeout: APPEND_TIMEOUT,
    };
    let ticket = source
        .partitions
        .append_as_coordinator(request, source.leader_epoch)
        .await;
    ticket.into_ticket().wait().await.ok().map(|_| ())
}
