//! Starts a shard for every partition of `__consumer_offsets` that this broker leads, and ends those it leads no more.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use klamm_coordinator::{Settings, Topics};
use klamm_metadata::Image;
use klamm_metadata::image::Topic;
use klamm_types::{LeaderEpoch, PartitionId, TopicId};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

use super::load::Source;
use super::shard::{self, Surroundings};
use super::{Inner, OFFSETS_TOPIC, ShardHandle, Stage, topics};
use crate::api::topic_partition;

/// Calls that may wait in front of one shard; further ones wait in their connections.
const ASKS_MAX: usize = 1024;

/// Runs until the node stops.
pub(super) async fn run(inner: Weak<Inner>) {
    let Some(strong) = inner.upgrade() else { return };
    let (mut shown, mut roles) = (strong.shown.watch(), strong.partitions.roles_changed());
    let mut stopping = strong.stopping.subscribe();
    let mut seen = Seen::default();
    let (surroundings, watched) = watch::channel(seen.look(&strong));
    let (ended, mut endings) = mpsc::unbounded_channel();
    drop(strong);
    loop {
        {
            let Some(inner) = inner.upgrade() else { return };
            if seen.has_news(&inner.shown.image()) {
                surroundings.send_replace(seen.look(&inner));
            }
            settle(&inner, &watched, &ended);
        }
        tokio::select! {
            // An error: the last handle has gone.
            _ = stopping.changed() => return,
            changed = shown.changed() => if changed.is_err() { return },
            changed = roles.changed() => if changed.is_err() { return },
            // A shard has ended by itself: if this broker still leads, another one loads.
            _ = endings.recv() => {}
        }
    }
}

/// What of the metadata the shards have been told.
#[derive(Default)]
struct Seen {
    topics: BTreeMap<TopicId, Arc<Topic>>,
    rebalance_delay_ms: Option<i32>,
}

impl Seen {
    /// Whether a topic has changed, or a setting: the topics of two images that do not differ are the same allocation.
    fn has_news(&self, image: &Image) -> bool {
        let topics = image.topics();
        let mut pairs = topics.values().zip(self.topics.values());
        topics.len() != self.topics.len()
            || !pairs.all(|(one, other)| Arc::ptr_eq(one, other))
            || self.rebalance_delay_ms != Some(image.cluster_config().group_initial_rebalance_delay_ms)
    }

    fn look(&mut self, inner: &Inner) -> Surroundings {
        let image = inner.shown.image();
        let delay = image.cluster_config().group_initial_rebalance_delay_ms;
        self.topics = image.topics().clone();
        self.rebalance_delay_ms = Some(delay);
        let settings = Settings {
            initial_rebalance_delay: Duration::from_millis(u64::try_from(delay).unwrap_or(0)),
            ..inner.config.groups.clone()
        };
        let offsets = image.topic_by_name(OFFSETS_TOPIC);
        let epochs = offsets.map(|topic| topic.partitions.iter().map(|state| state.leader_epoch).collect());
        Surroundings {
            settings: Arc::new(settings),
            topics: Arc::<Topics>::new(topics::from_image(&image)),
            epochs: epochs.unwrap_or_default(),
        }
    }
}

/// Brings the shards in line with what this broker leads.
fn settle(inner: &Arc<Inner>, surroundings: &watch::Receiver<Surroundings>, ended: &mpsc::UnboundedSender<()>) {
    let led = led(inner);
    let mut shards = inner.shards.write().unwrap_or_else(PoisonError::into_inner);
    if *inner.stopping.borrow() {
        return;
    }
    shards.retain(|partition, handle| {
        let leads = led
            .get(partition)
            .is_some_and(|(_, epoch)| *epoch == handle.leader_epoch);
        leads && *handle.stage.borrow() != Stage::Ended
    });
    for (partition, (topic, leader_epoch)) in led {
        shards.entry(partition).or_insert_with(|| {
            let (asks, asked) = mpsc::channel(ASKS_MAX);
            let (stage, staged) = watch::channel(Stage::Loading);
            let (lease, leased) = watch::channel(());
            let source = Source {
                partitions: inner.partitions.clone(),
                partition: topic_partition(topic, partition.0),
                leader_epoch,
            };
            let task = shard::Task {
                source,
                inner: inner.clone(),
                surroundings: surroundings.clone(),
                asks: asked,
                stage,
                lease: leased,
                ended: ended.clone(),
            };
            tokio::spawn(task.run());
            ShardHandle {
                leader_epoch,
                asks,
                stage: staged,
                _lease: lease,
            }
        });
    }
}

fn led(inner: &Inner) -> BTreeMap<PartitionId, (TopicId, LeaderEpoch)> {
    let image = inner.shown.image();
    let Some(topic) = image.topic_by_name(OFFSETS_TOPIC) else {
        return BTreeMap::new();
    };
    (0..)
        .zip(&topic.partitions)
        .filter_map(|(number, _)| {
            let epoch = inner.partitions.leads(topic_partition(topic.id, number))?;
            Some((PartitionId(number), (topic.id, epoch)))
        })
        .collect()
}
