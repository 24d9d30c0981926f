//! Builds metadata images by applying records, as a broker would.

use klamm_broker::metadata::Image;
use klamm_broker::metadata::feature::RECORD_VERSION;
use klamm_broker::schema::id_bytes;
use klamm_broker::schema::metadata::metadata_record::Record;
use klamm_broker::schema::metadata::{
    Config, Leadership, Listener, MetadataBatch, MetadataRecord, Partition, RegisterBroker, Topic,
};
use klamm_types::TopicId;

/// The name of the listener that the tests come in through.
pub const LISTENER: &str = "HOST";
pub const ANY_DIRECTORY: u128 = 7;

/// One partition to be created.
#[derive(Clone)]
pub struct Part {
    pub leader: i32,
    pub epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub elr: Vec<i32>,
}

impl Part {
    /// Led by the first replica, all in sync.
    pub fn of(replicas: &[i32]) -> Self {
        Self {
            leader: replicas[0],
            epoch: 5,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            elr: Vec::new(),
        }
    }
}

/// An image in the making.
#[derive(Clone, Default)]
pub struct World {
    pub image: Image,
    index: u64,
}

impl World {
    /// Three live brokers with the tests' listener, at ports 9092 to 9094 of host h1 to h3.
    pub fn three() -> Self {
        let mut world = Self::default();
        for id in 1..=3 {
            world.broker(id, false, LISTENER);
        }
        world
    }

    pub fn apply(&mut self, record: Record) {
        self.index += 1;
        let records = vec![MetadataRecord {
            version: RECORD_VERSION,
            record: Some(record),
        }];
        self.image
            .apply_batch(
                self.index,
                1,
                &MetadataBatch {
                    records,
                    decided_at_ms: 0,
                },
            )
            .unwrap();
    }

    pub fn broker(&mut self, id: i32, fenced: bool, listener: &str) {
        let port = 9091 + u32::try_from(id).unwrap();
        self.apply(Record::RegisterBroker(RegisterBroker {
            broker: id,
            broker_epoch: i64::try_from(self.index).unwrap() + 1,
            incarnation: id_bytes(&[9; 16]),
            listeners: vec![Listener {
                name: listener.to_owned(),
                host: format!("h{id}"),
                port,
            }],
            rack: (id == 3).then(|| "r3".to_owned()),
            fenced,
            last_unfenced_epoch: -1,
            ..Default::default()
        }));
    }

    pub fn topic(&mut self, name: &str, id: u128, partitions: &[Part]) -> TopicId {
        let topic = TopicId::from_u128(id);
        let topic_id = id_bytes(topic.as_bytes());
        self.apply(Record::Topic(Topic {
            topic_id: topic_id.clone(),
            name: name.to_owned(),
        }));
        for (number, part) in (0..).zip(partitions) {
            let directory = id_bytes(&ANY_DIRECTORY.to_be_bytes());
            self.apply(Record::Partition(Partition {
                topic_id: topic_id.clone(),
                partition: number,
                replicas: part.replicas.clone(),
                directories: vec![directory; part.replicas.len()],
                leadership: Some(Leadership {
                    leader: part.leader,
                    isr: part.isr.clone(),
                    elr: part.elr.clone(),
                    leader_epoch: part.epoch,
                    ..Default::default()
                }),
                decision: None,
            }));
        }
        topic
    }

    /// A setting: of a topic, or of the cluster if the topic's name is empty.
    pub fn set(&mut self, topic: &str, name: &str, value: &str) {
        let resource_type = if topic.is_empty() { 4 } else { 2 };
        self.apply(Record::Config(Config {
            resource_type,
            resource_name: topic.to_owned(),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        }));
    }
}
