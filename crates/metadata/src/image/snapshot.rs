//! An image as records, and back: applied to an empty image, the records of [`Image::to_records`] give the same
//! image. Parts are small enough to be stored and sent one by one. No file and no stream is touched here.

use klamm_schema::Message;
use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, Decision, MetadataRecord, MetadataSnapshot, ResourceType};

use super::partition::{directory_bytes, ids};
use super::{ApplyError, BrokerState, Image, PartitionState, Resource, Topic};
use crate::record;

/// A part of a snapshot holds about this many encoded bytes at most, unless one record alone is larger.
pub const SNAPSHOT_PART_BYTES: usize = 60 * 1024;

impl Image {
    /// The image as parts, at least one, each naming its place.
    pub fn to_snapshot(&self) -> Vec<MetadataSnapshot> {
        let mut parts: Vec<Vec<MetadataRecord>> = vec![Vec::new()];
        let mut bytes = 0;
        for record in self.to_records() {
            let length = record.encoded_len() + 4;
            if bytes > 0 && bytes + length > SNAPSHOT_PART_BYTES {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += length;
            if let Some(last) = parts.last_mut() {
                last.push(record);
            }
        }
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        parts
            .into_iter()
            .zip(0..)
            .map(|(records, part)| MetadataSnapshot {
                index: self.applied_index(),
                term: self.applied_term(),
                part,
                parts: count,
                records,
            })
            .collect()
    }

    /// The image that the parts, all of them and in order, describe.
    pub fn from_snapshot<'a>(parts: impl IntoIterator<Item = &'a MetadataSnapshot>) -> Result<Image, SnapshotError> {
        let mut image = Image::new();
        let mut expected = None;
        let mut next = 0;
        for part in parts {
            let head = (part.index, part.term, part.parts);
            if *expected.get_or_insert(head) != head || part.part != next {
                return Err(SnapshotError::Parts);
            }
            next += 1;
            for record in &part.records {
                image.apply(record).map_err(SnapshotError::Apply)?;
            }
        }
        match expected {
            Some((index, term, parts)) if parts == next => {
                image.set_applied(index, term);
                Ok(image)
            }
            _ => Err(SnapshotError::Parts),
        }
    }

    /// The records that build this image, except for its applied index.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        if let Some(id) = self.cluster_id() {
            let cluster_id = id_bytes(id.as_bytes());
            records.push(record(Record::ClusterIdentity(schema::ClusterIdentity { cluster_id })));
        }
        for (name, &level) in self.features() {
            let name = name.clone();
            records.push(record(Record::FeatureLevel(schema::FeatureLevel { name, level })));
        }
        self.brokers_to_records(&mut records);
        for topic in self.topics().values() {
            topic_to_records(topic, &mut records);
        }
        for (resource, settings) in self.configs() {
            for (name, value) in settings.iter() {
                let config = config_message(resource, name, Some(value.clone()));
                records.push(record(Record::Config(config)));
            }
        }
        if self.next_producer_id().0 > 0 {
            records.push(record(Record::ProducerIds(schema::ProducerIds {
                broker: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id().0,
            })));
        }
        // Last: the records before it are no changes, and what they seem to tell is replaced.
        if self.keeps_history() {
            self.history.to_records(self.brokers().keys().copied(), &mut records);
        }
        records
    }

    /// Brokers by rising epoch, because an image grants no epoch below one it has seen.
    fn brokers_to_records(&self, records: &mut Vec<MetadataRecord>) {
        let mut brokers: Vec<_> = self.brokers().iter().collect();
        brokers.sort_by_key(|(_, state)| state.epoch);
        for (id, state) in brokers {
            records.push(record(Record::RegisterBroker(state.to_message(id.0))));
        }
        if self.highest_broker_epoch().0 > 0 {
            records.push(record(Record::BrokerEpochFloor(schema::BrokerEpochFloor {
                broker_epoch: self.highest_broker_epoch().0,
            })));
        }
    }
}

/// Why parts are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("reading a metadata snapshot: its parts are missing, doubled or of different snapshots")]
    Parts,
    #[error("reading a metadata snapshot")]
    Apply(#[source] ApplyError),
}

impl BrokerState {
    fn to_message(&self, broker: i32) -> schema::RegisterBroker {
        schema::RegisterBroker {
            broker,
            broker_epoch: self.epoch.0,
            incarnation: id_bytes(self.incarnation.as_bytes()),
            listeners: self.listeners.iter().map(super::Listener::to_message).collect(),
            grpc_address: self.grpc_address.clone(),
            http_port: u32::from(self.http_port),
            rack: self.rack.clone(),
            directories: directory_bytes(&self.directories),
            features: self.features.iter().map(super::FeatureRange::to_message).collect(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            last_unfenced_epoch: self.last_unfenced_epoch.0,
            decision: Some(Decision {
                cause: self.cause.into(),
                ..Decision::default()
            }),
        }
    }
}

fn topic_to_records(topic: &Topic, records: &mut Vec<MetadataRecord>) {
    records.push(record(Record::Topic(schema::Topic {
        topic_id: id_bytes(topic.id.as_bytes()),
        name: topic.name.to_string(),
    })));
    for (state, partition) in topic.partitions.iter().zip(0..) {
        let message = partition_message(topic, partition, state, None);
        records.push(record(Record::Partition(message)));
    }
}

pub(crate) fn partition_message(
    topic: &Topic,
    partition: i32,
    state: &PartitionState,
    decision: Option<Decision>,
) -> schema::Partition {
    schema::Partition {
        topic_id: id_bytes(topic.id.as_bytes()),
        partition,
        replicas: ids(&state.replicas),
        directories: directory_bytes(&state.directories),
        leadership: Some(state.to_leadership()),
        decision,
    }
}

pub(crate) fn config_message(resource: &Resource, name: &str, value: Option<String>) -> schema::Config {
    let (resource_type, resource_name) = match resource {
        Resource::Topic(name) => (ResourceType::Topic, name.to_string()),
        Resource::Broker(id) => (ResourceType::Broker, id.to_string()),
        Resource::ClusterDefaults => (ResourceType::Broker, String::new()),
    };
    schema::Config {
        resource_type: resource_type.into(),
        resource_name,
        name: name.to_string(),
        value,
    }
}
