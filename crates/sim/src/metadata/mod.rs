//! The metadata as one total order: the shipped controllers over a modelled log.
//!
//! Controllers change, err about whether they lead, and lose proposals without knowing it; requests and replies get lost
//! or come late, and every broker applies the same entries at its own pace.

mod messages;
mod quorum;
mod requests;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_invariants::{Broken, Permission, core_orderings, permitted_elections};
use klamm_metadata::Image;
use klamm_metadata::core::{Event, RequestId, Settings};
use klamm_metadata::decide::{Claim, Overlay, bootstrap, decide, unfence};
use klamm_metadata::image::PartitionState;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, MetadataBatch};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, NodeId, PartitionId, Timestamp, TopicId, Uuid};

use crate::plan::{REPLICAS, Setup};

pub use messages::{Registration, ReplicaReport, elect_preferred, set_topic};
pub use quorum::AtController;
pub use sessions::{BEAT, Session};

use requests::Pending;

/// What producers write.
pub const TOPIC: &str = "sim";
/// What coordinators write.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A partition of some topic. The simulation numbers all of them.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    pub topic: TopicId,
    pub topic_name: &'static str,
    pub number: PartitionId,
}

/// So many nodes hold the metadata.
pub const CONTROLLERS: usize = 3;

/// One controller.
#[derive(Debug)]
pub struct Node {
    core: klamm_metadata::core::Controller,
    /// Up to this entry.
    delivered: u64,
    is_stopped: bool,
    /// What reached it meanwhile.
    backlog: Vec<Event>,
}

/// The one log, and whoever works on it.
#[derive(Debug)]
pub struct Metadata {
    /// As of the newest entry.
    image: Image,
    /// Each with its term.
    entries: Vec<(u64, Arc<MetadataBatch>)>,
    partitions: Vec<Partition>,
    /// The elections that may have lost records: of which partition, and why.
    risky_elections: Vec<(usize, Cause)>,
    term: u64,
    leader: Option<usize>,
    nodes: Vec<Node>,
    /// What the leader of the newest term has proposed, while nobody knows what becomes of it.
    in_flight: Option<Arc<MetadataBatch>>,
    /// The next proposal's outcome will not be known.
    pub loses_next: bool,
    pending: BTreeMap<RequestId, Pending>,
}

/// The brokers that have a replica of a partition, the preferred leader first.
pub fn replicas_of(partition: usize, brokers: usize) -> Vec<usize> {
    (0..REPLICAS).map(|turn| (partition + turn) % brokers).collect()
}

/// Waits of controllers are a tenth of what they are in a cluster.
fn core_settings() -> Settings {
    Settings {
        tick_interval: Duration::from_millis(10),
        lateness_max: Duration::from_millis(60),
        probe_distrust: Duration::from_millis(50),
        request_wait_max: Duration::from_millis(200),
        take_up_wait_max: Duration::from_millis(50),
        balance_interval: Duration::from_millis(700),
        ..Settings::default()
    }
}

impl Metadata {
    /// A cluster whose brokers are registered and alive and which has its topics.
    pub fn new(setup: &Setup, registrations: &[Registration], random: u128) -> Result<Metadata, Broken> {
        let mut metadata = Metadata {
            image: Image::new(),
            entries: Vec::new(),
            partitions: Vec::new(),
            risky_elections: Vec::new(),
            term: 1,
            leader: None,
            nodes: Vec::new(),
            in_flight: None,
            loses_next: false,
            pending: BTreeMap::new(),
        };
        metadata.commit(random, |overlay| bootstrap(overlay, None))?;
        let time_out = setup.session_timeout / crate::plan::MS;
        metadata.decide(&messages::set_cluster(
            "broker.session.timeout.ms",
            &time_out.to_string(),
        ))?;
        for registration in registrations {
            let reply = metadata.decide(&messages::register(registration, &metadata.partitions))?;
            let Reply::RegisterBroker(registered) = reply else {
                return Err(core_orderings(format!("not an answer to a registration: {reply:?}")));
            };
            let epoch = BrokerEpoch(registered.broker_epoch);
            metadata.commit(0, |overlay| unfence(overlay, registration.node, epoch, Cause::CaughtUp))?;
        }
        let nodes = |partition| {
            let brokers = replicas_of(partition, setup.brokers);
            brokers.into_iter().map(|broker| NodeId(broker as i32 + 1)).collect()
        };
        let replicas: Vec<Vec<NodeId>> = (0..setup.partitions).map(nodes).collect();
        metadata.create_topic(TOPIC, &replicas, &messages::topic_settings(setup), random)?;
        if setup.groups > 0 {
            metadata.create_topic(OFFSETS_TOPIC, &[nodes(setup.partitions)], &[], random ^ 1)?;
        }
        let node = |_| Node {
            core: klamm_metadata::core::Controller::new(core_settings(), metadata.image.clone()),
            delivered: metadata.entries_count(),
            is_stopped: false,
            backlog: Vec::new(),
        };
        metadata.nodes = (0..CONTROLLERS).map(node).collect();
        Ok(metadata)
    }

    /// The controller that decides just now.
    pub fn active(&self) -> Option<usize> {
        self.leader
            .filter(|&node| !self.nodes[node].is_stopped && self.nodes[node].core.is_active())
    }

    fn create_topic(
        &mut self,
        name: &'static str,
        replicas: &[Vec<NodeId>],
        settings: &[(&str, String)],
        random: u128,
    ) -> Result<(), Broken> {
        let request = messages::create_topic(name, replicas, settings);
        let reply = self.commit(random, |overlay| decide(overlay, &request, Claim::Free))?;
        let topic = self.image.topic_by_name(name).map(|topic| topic.id);
        let topic = topic.ok_or_else(|| core_orderings(format!("the topic {name} could not be created: {reply:?}")))?;
        let numbers = (0..).map(PartitionId).take(replicas.len());
        self.partitions.extend(numbers.map(|number| Partition {
            topic,
            topic_name: name,
            number,
        }));
        Ok(())
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn partition(&self, partition: usize) -> &Partition {
        &self.partitions[partition]
    }

    /// The one partition of `__consumer_offsets`; a number that no partition has if there are no groups.
    pub fn offsets_partition(&self) -> usize {
        let is_it = |partition: &Partition| partition.topic_name == OFFSETS_TOPIC;
        self.partitions.iter().position(is_it).unwrap_or(usize::MAX)
    }

    pub fn partitions_count(&self) -> usize {
        self.partitions.len()
    }

    /// Who leads a partition and who may, as far as entries have been made.
    pub fn state(&self, partition: usize) -> Option<&Arc<PartitionState>> {
        let partition = self.partitions.get(partition)?;
        self.image.partition(partition.topic, partition.number)
    }

    pub fn entries_count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry with this index, counted from 1, and its term.
    pub fn entry(&self, index: u64) -> Option<(u64, Arc<MetadataBatch>)> {
        let position = usize::try_from(index.checked_sub(1)?).ok()?;
        self.entries.get(position).cloned()
    }

    /// Whether an election of this partition was unclean, by permission: what was committed before may be gone.
    pub fn has_lost(&self, partition: usize) -> bool {
        self.risky_elections.contains(&(partition, Cause::UncleanElection))
    }

    pub fn unclean_elections(&self) -> u64 {
        let causes = self.risky_elections.iter();
        causes.filter(|(_, cause)| *cause == Cause::UncleanElection).count() as u64
    }

    /// An election may only lose records if the topic allows it, or if nobody is left who could know better.
    fn note_elections(&mut self, before: &Image, batch: &MetadataBatch) -> Result<(), Broken> {
        for record in &batch.records {
            let Some(Record::PartitionChange(change)) = &record.record else {
                continue;
            };
            if !change.possible_loss {
                continue;
            }
            let cause = change.decision.as_ref().map(|decision| decision.cause());
            let topic = Uuid::from_slice(&change.topic_id).map(TopicId);
            let is_it = |known: &Partition| Some(known.topic) == topic && known.number.0 == change.partition;
            let partition = self.partitions.iter().position(is_it);
            self.risky_elections.extend(partition.zip(cause));
            let name = partition.map_or(TOPIC, |partition| self.partitions[partition].topic_name);
            if cause == Some(Cause::UncleanElection) {
                // One entry may hold the election and a change of the setting, in either order.
                let is_allowed = |image: &Image| image.allows_unclean_election(name);
                let permission = match is_allowed(before) || is_allowed(&self.image) {
                    true => Permission::Given,
                    false => Permission::Refused,
                };
                permitted_elections(permission, &format!("{change:?}"))?;
            }
        }
        Ok(())
    }

    fn decide(&mut self, request: &Request) -> Result<Reply, Broken> {
        self.commit(0, |overlay| decide(overlay, request, Claim::Free))
    }

    /// Decides over the image and makes an entry of the records, if there are any.
    fn commit<T>(&mut self, random: u128, decision: impl FnOnce(&mut Overlay) -> T) -> Result<T, Broken> {
        let mut overlay = Overlay::new(&self.image, Timestamp(0), random);
        let reply = decision(&mut overlay);
        if !overlay.records().is_empty() {
            let batch = overlay.into_batch().map_err(core_orderings)?;
            self.append(1, Arc::new(batch))?;
        }
        Ok(reply)
    }

    /// One more entry.
    fn append(&mut self, term: u64, batch: Arc<MetadataBatch>) -> Result<(), Broken> {
        let index = self.entries_count() + 1;
        let before = self.image.clone();
        self.image.apply_batch(index, term, &batch).map_err(core_orderings)?;
        self.image.validate().map_err(core_orderings)?;
        self.note_elections(&before, &batch)?;
        self.entries.push((term, batch));
        Ok(())
    }
}
