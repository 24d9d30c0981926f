//! Starts a shard for every partition of `__consumer_offsets` that this broker leads, and ends those it leads no more.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use klamm_coordinator::{Settings, Topics};
use klamm_metadata::Image;
use klamm_metadata::image::Topic;
use klamm_types::{LeaderEpoch, NodeId, PartitionId, TopicId};
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
    /// Partitions lie in racks by way of their brokers.
    racks: BTreeMap<NodeId, String>,
    rebalance_delay_ms: Option<i32>,
}

impl Seen {
    /// Whether a topic has changed, a broker's rack, or a setting: the topics of two images that do not differ are the same allocation.
    fn has_news(&self, image: &Image) -> bool {
        let topics = image.topics();
        let mut pairs = topics.values().zip(self.topics.values());
        topics.len() != self.topics.len()
            || !pairs.all(|(one, other)| Arc::ptr_eq(one, other))
            || !racks(image).eq(self.racks.iter().map(|(node, rack)| (*node, rack.as_str())))
            || self.rebalance_delay_ms != Some(image.cluster_config().group_initial_rebalance_delay_ms)
    }

    fn see(&mut self, image: &Image) {
        self.topics = image.topics().clone();
        self.racks = racks(image).map(|(node, rack)| (node, rack.to_owned())).collect();
        self.rebalance_delay_ms = Some(image.cluster_config().group_initial_rebalance_delay_ms);
    }

    fn look(&mut self, inner: &Inner) -> Surroundings {
        let image = inner.shown.image();
        self.see(&image);
        let delay = image.cluster_config().group_initial_rebalance_delay_ms;
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

fn racks(image: &Image) -> impl Iterator<Item = (NodeId, &str)> {
    let brokers = image.brokers().iter();
    brokers.filter_map(|(node, broker)| Some((*node, broker.rack.as_deref()?)))
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

#[cfg(test)]
mod tests {
    use klamm_schema::metadata::RegisterBroker;
    use klamm_schema::metadata::metadata_record::Record;

    use super::*;
    use crate::partitions::tests::harness::Meta;

    fn register(broker_epoch: i64, rack: &str) -> Vec<Record> {
        vec![Record::RegisterBroker(RegisterBroker {
            broker: 1,
            broker_epoch,
            incarnation: klamm_schema::id_bytes(&[1; 16]),
            rack: Some(rack.to_owned()),
            last_unfenced_epoch: -1,
            fenced: true,
            ..Default::default()
        })]
    }

    #[test]
    fn topics_and_the_racks_of_brokers_are_news() {
        let (mut meta, mut seen) = (Meta::default(), Seen::default());
        let mut is_news = |meta: &Meta| {
            let image = meta.image();
            let is_news = seen.has_news(&image);
            seen.see(&image);
            is_news
        };
        meta.apply(register(1, "a"));
        assert!(is_news(&meta));
        meta.apply(register(2, "a"));
        assert!(!is_news(&meta));
        meta.apply(register(3, "b"));
        assert!(is_news(&meta));
        meta.create_topic(1, "orders", &[1], &[]);
        assert!(is_news(&meta));
        assert!(!is_news(&meta));
    }
}
