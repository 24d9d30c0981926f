//! How a node stands: alive, ready, and in numbers.

use std::time::Duration;

use klamm_metadata::Image;
use klamm_metadata::image::PartitionState;
use klamm_types::NodeId;
use serde::Serialize;

use super::Node;
use crate::api::PartitionRole;
use crate::metrics::{Family, Sample, Value};

/// Behind the quorum by more entries than this, a node is not ready.
const BEHIND_MAX: u64 = 100;
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A node in numbers, as its HTTP port tells it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub node_id: i32,
    pub cluster_id: Option<String>,
    pub broker_epoch: Option<i64>,
    pub in_session: bool,
    pub fenced: bool,
    /// The last entry of the metadata log that this node has taken up.
    pub applied_index: u64,
    pub committed_index: u64,
    pub partitions: Vec<PartitionView>,
    pub counters: Vec<CounterView>,
}

/// One partition as this node holds it.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionView {
    pub topic: String,
    pub partition: i32,
    pub role: String,
    pub leader_epoch: i32,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub high_watermark: i64,
}

/// One counter of the data path.
#[derive(Clone, Debug, Serialize)]
pub struct CounterView {
    pub name: &'static str,
    pub value: u64,
}

impl CounterView {
    /// Of a metric that is a single count.
    fn of(family: &Family) -> Option<CounterView> {
        let [
            Sample {
                value: Value::Count(value),
                ..
            },
        ] = family.samples[..]
        else {
            return None;
        };
        Some(CounterView {
            name: family.definition.name,
            value,
        })
    }
}

impl Node {
    /// Why the node does not work, if it does not: its parts must answer, not just exist.
    pub async fn unhealthy(&self) -> Option<String> {
        if let Some(reason) = self.failure.borrow().clone() {
            return Some(reason);
        }
        let broker = self.broker.as_ref()?;
        let answered = tokio::time::timeout(ANSWER_MAX, broker.partitions.statuses()).await;
        answered
            .is_err()
            .then(|| format!("the partitions did not answer within {ANSWER_MAX:?}"))
    }

    /// Why the node does not serve yet, if it does not.
    pub async fn unready(&self) -> Option<String> {
        if let Some(reason) = self.unhealthy().await {
            return Some(reason);
        }
        let (image, committed) = (self.shown.image(), *self.committed.borrow());
        if image.applied_index() == 0 || image.applied_index() + BEHIND_MAX < committed {
            return Some(format!(
                "the metadata is at entry {} of {committed}",
                image.applied_index()
            ));
        }
        let broker = self.broker.as_ref()?;
        let standing = *broker.standing.borrow();
        if !standing.in_session || !image.is_alive(self.id) {
            return Some("this broker is fenced".to_owned());
        }
        let idle = broker.partitions.statuses().await.into_iter().find(|status| {
            let state = image.partition(status.partition.topic, status.partition.partition);
            let expected = state.is_some_and(|state| state.leader.is_some());
            expected && status.role == PartitionRole::None
        });
        idle.map(|status| format!("partition {} neither leads nor follows", status.partition))
    }

    /// Why another node had better not be stopped now, as far as this one is concerned: it does not serve, or replicas
    /// on it are not in sync.
    pub async fn out_of_sync(&self) -> Option<String> {
        if let Some(reason) = self.unready().await {
            return Some(reason);
        }
        let broker = self.broker.as_ref()?;
        let (image, standing) = (self.shown.image(), *broker.standing.borrow());
        // Metadata from before this start counts the replicas of the former process.
        if image.broker(self.id).map(|me| me.epoch) != standing.epoch {
            return Some("the metadata does not know of this start yet".to_owned());
        }
        not_in_sync(&image, self.id)
    }

    /// The node in numbers.
    pub async fn status(&self) -> Status {
        let image = self.shown.image();
        let (mut partitions, mut counters) = (Vec::new(), Vec::new());
        let mut standing = super::Standing::default();
        if let Some(broker) = &self.broker {
            standing = *broker.standing.borrow();
            for status in broker.partitions.statuses().await {
                let topic = image.topic(status.partition.topic);
                partitions.push(PartitionView {
                    topic: topic.map_or_else(|| status.partition.topic.to_string(), |topic| topic.name.to_string()),
                    partition: status.partition.partition.0,
                    role: format!("{:?}", status.role).to_lowercase(),
                    leader_epoch: status.leader.leader_epoch.0,
                    log_start_offset: status.log_start_offset.0,
                    log_end_offset: status.log_end_offset.0,
                    high_watermark: status.high_watermark.0,
                });
            }
            let data = broker.partitions.metrics().families();
            let groups = broker.backend.coordinators.metrics().families();
            counters = data.iter().chain(&groups).filter_map(CounterView::of).collect();
        }
        Status {
            node_id: self.id.0,
            cluster_id: image.cluster_id().map(|cluster| cluster.to_string()),
            broker_epoch: standing.epoch.map(|epoch| epoch.0),
            in_session: standing.in_session,
            fenced: !image.is_alive(self.id),
            applied_index: image.applied_index(),
            committed_index: *self.committed.borrow(),
            partitions,
            counters,
        }
    }
}

/// Which replicas on the broker are not in sync with a leader.
fn not_in_sync(image: &Image, broker: NodeId) -> Option<String> {
    let behind = |state: &PartitionState| {
        state.replicas.contains(&broker) && state.leader.is_some() && !state.isr.contains(&broker)
    };
    let mut found = image.partitions().filter(|(_, _, state)| behind(state));
    let (topic, partition, _) = found.next()?;
    let more = match found.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!(
        "the replica of {}-{partition} is not in sync{more}",
        topic.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::topic_partition;
    use crate::partitions::tests::harness::Meta;

    #[test]
    fn a_replica_outside_the_isr_is_named() {
        let mut meta = Meta::default();
        meta.create_topic(1, "orders", &[1, 2], &[]);
        meta.create_topic(2, "parcels", &[1, 2], &[]);
        let told = |meta: &Meta| [1, 2, 3].map(|broker| not_in_sync(&meta.image(), NodeId(broker)));
        assert_eq!(told(&meta), [None, None, None]);
        let at = |topic| topic_partition(klamm_types::TopicId::from_u128(topic), 0);
        meta.change(at(1), None, &[1]);
        let one = "the replica of orders-0 is not in sync";
        assert_eq!(told(&meta), [None, Some(one.to_owned()), None]);
        meta.change(at(2), None, &[1]);
        assert_eq!(told(&meta), [None, Some(format!("{one}, and 1 more")), None]);
    }
}
