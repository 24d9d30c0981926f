//! Applying records to an image: the only writer.
//!
//! Every record is checked against the image: a record that does not fit means that two nodes disagree about the
//! same log, and the node must stop rather than go on. Nothing is decided here.

use std::sync::Arc;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, BrokerStep, Cause, MetadataBatch, MetadataRecord, ResourceType};
use klamm_schema::{BadField, uuid};
use klamm_types::{BrokerEpoch, ClusterId, DirectoryId, Incarnation, NodeId, PartitionId, ProducerId, TopicId};

use super::{BrokerState, FeatureRange, Image, Listener, PartitionState, Resource, Topic};
use crate::feature::{METADATA_LEVEL, METADATA_LEVEL_MAX, RECORD_VERSION};
use crate::history::{BrokerEntry, Changed};

/// Why a record could not be applied. The node must stop: it cannot know what the others know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("applying entry {index}: a record of a kind that this program does not know; it needs a newer program")]
    UnknownRecord { index: u64 },
    #[error("applying entry {index}: a record of version {version}; this program knows version 1 only")]
    UnknownVersion { index: u64, version: u32 },
    #[error("applying entry {index}: the metadata level {level} is above what this program knows")]
    UnknownLevel { index: u64, level: u32 },
    #[error("applying entry {index} after entry {applied}: entries must follow each other")]
    OutOfOrder { index: u64, applied: u64 },
    #[error("applying entry {index}: {kind} {what}")]
    DoesNotFit {
        index: u64,
        kind: &'static str,
        what: &'static str,
    },
    #[error("applying entry {index}: a malformed record")]
    Malformed {
        index: u64,
        #[source]
        source: BadField,
    },
}

/// Why one record does not fit; the caller knows the entry.
pub(super) enum Misfit {
    Kind(&'static str, &'static str),
    Unknown,
    Version(u32),
    Level(u32),
    Field(BadField),
}

impl From<BadField> for Misfit {
    fn from(source: BadField) -> Misfit {
        Misfit::Field(source)
    }
}

pub(super) type Applied = Result<(), Misfit>;

impl Image {
    /// Applies one committed entry. After an error the image is not to be used any more.
    pub fn apply_batch(&mut self, index: u64, term: u64, batch: &MetadataBatch) -> Result<(), ApplyError> {
        if index <= self.applied_index {
            return Err(ApplyError::OutOfOrder {
                index,
                applied: self.applied_index,
            });
        }
        for record in &batch.records {
            self.apply_at(index, record)?;
        }
        self.applied_index = index;
        self.applied_term = term;
        Ok(())
    }

    /// Applies one record without moving the applied index: what the entry will do, before it is committed.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        self.apply_at(self.applied_index.saturating_add(1), record)
    }

    pub(super) fn set_applied(&mut self, index: u64, term: u64) {
        self.applied_index = index;
        self.applied_term = term;
    }

    fn apply_at(&mut self, index: u64, record: &MetadataRecord) -> Result<(), ApplyError> {
        self.apply_record(record).map_err(|misfit| match misfit {
            Misfit::Kind(kind, what) => ApplyError::DoesNotFit { index, kind, what },
            Misfit::Unknown => ApplyError::UnknownRecord { index },
            Misfit::Version(version) => ApplyError::UnknownVersion { index, version },
            Misfit::Level(level) => ApplyError::UnknownLevel { index, level },
            Misfit::Field(source) => ApplyError::Malformed { index, source },
        })
    }

    fn apply_record(&mut self, record: &MetadataRecord) -> Applied {
        if record.version != RECORD_VERSION {
            return Err(Misfit::Version(record.version));
        }
        match record.record.as_ref().ok_or(Misfit::Unknown)? {
            Record::NoOp(schema::NoOp {}) => Ok(()),
            Record::ClusterIdentity(identity) => self.apply_cluster_identity(identity),
            Record::FeatureLevel(feature) => self.apply_feature_level(feature),
            Record::RegisterBroker(broker) => self.apply_register_broker(broker),
            Record::UnregisterBroker(broker) => self.apply_unregister_broker(broker),
            Record::BrokerChange(change) => self.apply_broker_change(change),
            Record::BrokerEpochFloor(floor) => self.apply_broker_epoch_floor(floor),
            Record::Topic(topic) => self.apply_topic(topic),
            Record::RemoveTopic(topic) => self.apply_remove_topic(topic),
            Record::Partition(partition) => self.apply_partition(partition),
            Record::PartitionChange(change) => self.apply_partition_change(change),
            Record::Config(config) => self.apply_config(config),
            Record::ProducerIds(ids) => self.apply_producer_ids(ids),
            history => self.apply_history(history),
        }
    }

    fn apply_cluster_identity(&mut self, identity: &schema::ClusterIdentity) -> Applied {
        let id = ClusterId(uuid("cluster_id", &identity.cluster_id)?);
        if self.cluster_id.is_some_and(|known| known != id) {
            return Err(Misfit::Kind("ClusterIdentity", "names another cluster"));
        }
        self.cluster_id = Some(id);
        Ok(())
    }

    fn apply_feature_level(&mut self, feature: &schema::FeatureLevel) -> Applied {
        if feature.name == METADATA_LEVEL && feature.level > METADATA_LEVEL_MAX {
            return Err(Misfit::Level(feature.level));
        }
        let features = Arc::make_mut(&mut self.features);
        if feature.level == 0 {
            features.remove(&feature.name);
        } else {
            features.insert(feature.name.clone(), feature.level);
        }
        if !self.keeps_history() {
            self.history = Arc::default();
        }
        Ok(())
    }

    fn apply_register_broker(&mut self, message: &schema::RegisterBroker) -> Applied {
        let misfit = |what| Misfit::Kind("RegisterBroker", what);
        let epoch = BrokerEpoch(message.broker_epoch);
        if epoch <= self.highest_broker_epoch {
            return Err(misfit("grants an epoch that is not new"));
        }
        let mut directories = Vec::with_capacity(message.directories.len());
        for bytes in &message.directories {
            directories.push(DirectoryId(uuid("directories", bytes)?));
        }
        let mut listeners = Vec::with_capacity(message.listeners.len());
        for listener in &message.listeners {
            listeners.push(Listener::from_message(listener).ok_or_else(|| misfit("has a malformed listener"))?);
        }
        let state = BrokerState {
            epoch,
            incarnation: Incarnation(uuid("incarnation", &message.incarnation)?),
            fenced: message.fenced,
            in_controlled_shutdown: message.in_controlled_shutdown,
            listeners,
            grpc_address: message.grpc_address.clone(),
            http_port: u16::try_from(message.http_port).map_err(|_| misfit("has an HTTP port above 65535"))?,
            rack: message.rack.clone(),
            directories,
            features: message.features.iter().map(FeatureRange::from_message).collect(),
            last_unfenced_epoch: BrokerEpoch(message.last_unfenced_epoch),
            cause: cause_of(message.decision.as_ref()),
        };
        self.highest_broker_epoch = epoch;
        let id = NodeId(message.broker);
        Arc::make_mut(&mut self.brokers).insert(id, Arc::new(state));
        self.note_broker(id, epoch, Some(BrokerStep::Registered), message.decision.as_ref());
        Ok(())
    }

    fn apply_unregister_broker(&mut self, message: &schema::UnregisterBroker) -> Applied {
        let id = NodeId(message.broker);
        if self.broker(id).map(|broker| broker.epoch) != Some(BrokerEpoch(message.broker_epoch)) {
            return Err(Misfit::Kind(
                "UnregisterBroker",
                "names a registration that is not current",
            ));
        }
        Arc::make_mut(&mut self.brokers).remove(&id);
        let epoch = BrokerEpoch(message.broker_epoch);
        self.note_broker(id, epoch, Some(BrokerStep::Unregistered), message.decision.as_ref());
        self.note_departure();
        Ok(())
    }

    fn apply_broker_change(&mut self, message: &schema::BrokerChange) -> Applied {
        let epoch = BrokerEpoch(message.broker_epoch);
        let working = directories(&message.working_directories)?;
        let id = NodeId(message.broker);
        let broker = Arc::make_mut(&mut self.brokers)
            .get_mut(&id)
            .filter(|broker| broker.epoch == epoch)
            .ok_or(Misfit::Kind("BrokerChange", "names a registration that is not current"))?;
        let old = Arc::clone(broker);
        let broker = Arc::make_mut(broker);
        broker.fenced = message.fenced;
        broker.in_controlled_shutdown = message.in_controlled_shutdown;
        broker.cause = cause_of(message.decision.as_ref());
        if !working.is_empty() {
            broker.directories = working;
        }
        if !broker.fenced {
            broker.last_unfenced_epoch = epoch;
        }
        let step = BrokerEntry::step(&old, broker);
        self.note_broker(id, epoch, step, message.decision.as_ref());
        Ok(())
    }

    fn apply_broker_epoch_floor(&mut self, floor: &schema::BrokerEpochFloor) -> Applied {
        self.highest_broker_epoch = self.highest_broker_epoch.max(BrokerEpoch(floor.broker_epoch));
        Ok(())
    }

    fn apply_topic(&mut self, message: &schema::Topic) -> Applied {
        let misfit = |what| Misfit::Kind("Topic", what);
        let id = TopicId(uuid("topic_id", &message.topic_id)?);
        if klamm_types::validate_topic_name(&message.name).is_err() {
            return Err(misfit("has a name that no topic may have"));
        }
        if self.topics.contains_key(&id) || self.topic_ids.contains_key(message.name.as_str()) {
            return Err(misfit("exists"));
        }
        let name: Arc<str> = Arc::from(message.name.as_str());
        let topic = Topic {
            id,
            name: Arc::clone(&name),
            partitions: Vec::new(),
        };
        Arc::make_mut(&mut self.topics).insert(id, Arc::new(topic));
        Arc::make_mut(&mut self.topic_ids).insert(name, id);
        Ok(())
    }

    fn apply_remove_topic(&mut self, message: &schema::RemoveTopic) -> Applied {
        let id = TopicId(uuid("topic_id", &message.topic_id)?);
        let topic = Arc::make_mut(&mut self.topics)
            .remove(&id)
            .ok_or(Misfit::Kind("RemoveTopic", "names no topic"))?;
        Arc::make_mut(&mut self.topic_ids).remove(&topic.name);
        let resource = Resource::Topic(Arc::clone(&topic.name));
        if self.configs.contains_key(&resource) {
            Arc::make_mut(&mut self.configs).remove(&resource);
        }
        self.note_removal(id);
        Ok(())
    }

    fn apply_partition(&mut self, message: &schema::Partition) -> Applied {
        let misfit = |what| Misfit::Kind("Partition", what);
        let topic = TopicId(uuid("topic_id", &message.topic_id)?);
        let leadership = message.leadership.as_ref().ok_or_else(|| misfit("has no leadership"))?;
        let mut state = PartitionState {
            replicas: klamm_schema::node_ids(&message.replicas),
            directories: directories(&message.directories)?,
            ..PartitionState::default()
        };
        state.set_leadership(leadership);
        if state.directories.len() != state.replicas.len() {
            return Err(misfit("does not name one directory per replica"));
        }
        let topic = Arc::make_mut(&mut self.topics)
            .get_mut(&topic)
            .map(Arc::make_mut)
            .ok_or_else(|| misfit("names no topic"))?;
        if usize::try_from(message.partition) != Ok(topic.partitions.len()) {
            return Err(misfit("is not the topic's next"));
        }
        topic.partitions.push(Arc::new(state));
        Ok(())
    }

    fn apply_partition_change(&mut self, message: &schema::PartitionChange) -> Applied {
        let misfit = |what| Misfit::Kind("PartitionChange", what);
        let topic = TopicId(uuid("topic_id", &message.topic_id)?);
        let partition = PartitionId(message.partition);
        let old = self.partition(topic, partition).cloned();
        let old = old.ok_or_else(|| misfit("names no partition"))?;
        let mut new = PartitionState::clone(&old);
        new.set_leadership(message.leadership.as_ref().ok_or_else(|| misfit("has no leadership"))?);
        if !message.directories.is_empty() {
            new.directories = directories(&message.directories)?;
        }
        if new.directories.len() != new.replicas.len() {
            return Err(misfit("does not name one directory per replica"));
        }
        if new.partition_epoch != old.partition_epoch.next() {
            return Err(misfit("does not follow the partition epoch"));
        }
        if new.leader_epoch < old.leader_epoch || (new.leader_epoch == old.leader_epoch && new.leader != old.leader) {
            return Err(misfit("changes the leader without a new leader epoch"));
        }
        let changed = Changed {
            old: &old,
            new: &new,
            decision: message.decision.as_ref(),
            possible_loss: message.possible_loss,
        };
        self.note_partition(topic, partition, &changed);
        let topic = Arc::make_mut(&mut self.topics).get_mut(&topic).map(Arc::make_mut);
        let slot = topic.and_then(|topic| topic.partitions.get_mut(usize::try_from(partition.0).ok()?));
        *slot.ok_or_else(|| misfit("names no partition"))? = Arc::new(new);
        Ok(())
    }

    fn apply_config(&mut self, message: &schema::Config) -> Applied {
        let misfit = |what| Misfit::Kind("Config", what);
        let resource = match ResourceType::try_from(message.resource_type) {
            Ok(ResourceType::Topic) => Resource::Topic(Arc::from(message.resource_name.as_str())),
            Ok(ResourceType::Broker) if message.resource_name.is_empty() => Resource::ClusterDefaults,
            Ok(ResourceType::Broker) => {
                let id = message
                    .resource_name
                    .parse()
                    .map_err(|_| misfit("names no broker id"))?;
                Resource::Broker(NodeId(id))
            }
            Ok(ResourceType::Unknown) | Err(_) => return Err(Misfit::Unknown),
        };
        if let Resource::Topic(name) = &resource
            && !self.topic_ids.contains_key(name)
        {
            return Err(misfit("names no topic"));
        }
        let configs = Arc::make_mut(&mut self.configs);
        let settings = Arc::make_mut(configs.entry(resource.clone()).or_default());
        match &message.value {
            Some(value) => settings.insert(message.name.clone(), value.clone()),
            None => settings.remove(&message.name),
        };
        if settings.is_empty() {
            configs.remove(&resource);
        }
        Ok(())
    }

    fn apply_producer_ids(&mut self, message: &schema::ProducerIds) -> Applied {
        let next = ProducerId(message.next_producer_id);
        if next <= self.next_producer_id {
            return Err(Misfit::Kind("ProducerIds", "gives out ids a second time"));
        }
        self.next_producer_id = next;
        Ok(())
    }
}

fn directories(messages: &[klamm_schema::Bytes]) -> Result<Vec<DirectoryId>, BadField> {
    messages
        .iter()
        .map(|bytes| uuid("directories", bytes).map(DirectoryId))
        .collect()
}

fn cause_of(decision: Option<&schema::Decision>) -> Cause {
    decision.map_or(Cause::Unknown, schema::Decision::cause)
}
