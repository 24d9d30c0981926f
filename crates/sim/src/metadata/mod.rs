//! The metadata as one total order: the shipped decisions over the shipped image, without a quorum under them.
//!
//! What Raft adds (terms, elections, lost proposals) is left out; what a broker sees of it is not: requests and
//! replies get lost or come late, the controller is silent for a while, and every broker applies the same entries at
//! its own pace.

mod messages;
mod sessions;

use std::sync::Arc;

use klamm_invariants::{Broken, Permission, core_orderings, permitted_elections};
use klamm_metadata::Image;
use klamm_metadata::decide::{Claim, Fence, Overlay, bootstrap, decide, fence, unfence};
use klamm_metadata::image::PartitionState;
use klamm_replication::{AlterOutcome, AlterPartition};
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, MetadataBatch};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, NodeId, PartitionId, Timestamp, TopicId, Uuid};

use crate::plan::{REPLICAS, Setup};

pub use messages::{Registration, ReplicaReport};

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

#[derive(Debug)]
pub struct Controller {
    image: Image,
    entries: Vec<Arc<MetadataBatch>>,
    partitions: Vec<Partition>,
    /// The elections that may have lost records: of which partition, and why.
    risky_elections: Vec<(usize, Cause)>,
}

/// The brokers that have a replica of a partition, the preferred leader first.
pub fn replicas_of(partition: usize, brokers: usize) -> Vec<usize> {
    (0..REPLICAS).map(|turn| (partition + turn) % brokers).collect()
}

impl Controller {
    /// A cluster whose brokers are registered and alive and which has its topics.
    pub fn new(setup: &Setup, registrations: &[Registration], random: u128) -> Result<Controller, Broken> {
        let mut controller = Controller {
            image: Image::new(),
            entries: Vec::new(),
            partitions: Vec::new(),
            risky_elections: Vec::new(),
        };
        controller.commit(random, |overlay| bootstrap(overlay, None))?;
        for registration in registrations {
            let epoch = controller.register(registration)?;
            controller.commit(0, |overlay| unfence(overlay, registration.node, epoch, Cause::CaughtUp))?;
        }
        let nodes = |partition| {
            let brokers = replicas_of(partition, setup.brokers);
            brokers.into_iter().map(|broker| NodeId(broker as i32 + 1)).collect()
        };
        let replicas: Vec<Vec<NodeId>> = (0..setup.partitions).map(nodes).collect();
        controller.create_topic(TOPIC, &replicas, &messages::topic_settings(setup), random)?;
        if setup.groups > 0 {
            controller.create_topic(OFFSETS_TOPIC, &[nodes(setup.partitions)], &[], random ^ 1)?;
        }
        Ok(controller)
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

    /// The entry with this index, counted from 1.
    pub fn entry(&self, index: u64) -> Option<Arc<MetadataBatch>> {
        let position = usize::try_from(index.checked_sub(1)?).ok()?;
        self.entries.get(position).cloned()
    }

    pub fn register(&mut self, registration: &Registration) -> Result<BrokerEpoch, Broken> {
        let node = registration.node;
        match self.decide(&messages::register(registration, &self.partitions))? {
            Reply::RegisterBroker(reply) if reply.error_code == 0 => Ok(BrokerEpoch(reply.broker_epoch)),
            other => Err(core_orderings(format!(
                "the registration of {node} was refused: {other:?}"
            ))),
        }
    }

    /// Says whether anything changed.
    pub fn fence(&mut self, node: NodeId, cause: Cause) -> Result<bool, Broken> {
        let Some(broker_epoch) = self.image.broker(node).map(|broker| broker.epoch) else {
            return Ok(false);
        };
        self.commit(0, |overlay| {
            let evidence = Fence {
                broker: node,
                broker_epoch,
                cause,
                evidence: String::new(),
                last_contact: None,
            };
            fence(overlay, &evidence)
        })
    }

    pub fn unfence(&mut self, node: NodeId, broker_epoch: BrokerEpoch) -> Result<bool, Broken> {
        self.commit(0, |overlay| unfence(overlay, node, broker_epoch, Cause::AliveAgain))
    }

    /// Moves the lead to the preferred replicas, where they may lead.
    pub fn elect_preferred(&mut self) -> Result<(), Broken> {
        self.decide(&messages::elect_preferred()).map(|_| ())
    }

    pub fn alter_setting(&mut self, name: &str, value: &str) -> Result<(), Broken> {
        match self.decide(&messages::set_topic(TOPIC, name, value))? {
            Reply::IncrementalAlterConfigs(reply) if reply.resources.iter().all(|it| it.error_code == 0) => Ok(()),
            other => Err(core_orderings(format!("{name} cannot be set to {value}: {other:?}"))),
        }
    }

    pub fn controlled_shutdown(&mut self, node: NodeId, broker_epoch: BrokerEpoch) -> Result<(), Broken> {
        self.decide(&messages::controlled_shutdown(node, broker_epoch))
            .map(|_| ())
    }

    /// Whether an election of this partition was unclean, by permission: what was committed before may be gone.
    pub fn has_lost(&self, partition: usize) -> bool {
        self.risky_elections.contains(&(partition, Cause::UncleanElection))
    }

    pub fn unclean_elections(&self) -> u64 {
        let causes = self.risky_elections.iter();
        causes.filter(|(_, cause)| *cause == Cause::UncleanElection).count() as u64
    }

    pub fn report_damage(&mut self, node: NodeId, epoch: BrokerEpoch, partition: usize) -> Result<bool, Broken> {
        let request = messages::report_damage(node, epoch, self.partition(partition));
        match self.decide(&request)? {
            Reply::ReportDamage(reply) => Ok(reply.error_code == 0),
            other => Err(core_orderings(format!("not an answer to a damage report: {other:?}"))),
        }
    }

    pub fn alter_partition(
        &mut self,
        leader: NodeId,
        epoch: BrokerEpoch,
        partition: usize,
        asked: &AlterPartition,
    ) -> Result<AlterOutcome, Broken> {
        let request = messages::alter_partition(leader, epoch, self.partition(partition), asked);
        let reply = self.decide(&request)?;
        messages::alter_outcome(asked, &reply)
            .ok_or_else(|| core_orderings(format!("not an answer to an ISR change: {reply:?}")))
    }

    /// An election may only lose records if the topic allows it, or if nobody is left who could know better.
    fn note_elections(&mut self, batch: &MetadataBatch) -> Result<(), Broken> {
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
                let permission = match self.image.allows_unclean_election(name) {
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
            let index = self.entries_count() + 1;
            self.image.apply_batch(index, 1, &batch).map_err(core_orderings)?;
            self.image.validate().map_err(core_orderings)?;
            self.note_elections(&batch)?;
            self.entries.push(Arc::new(batch));
        }
        Ok(reply)
    }
}
