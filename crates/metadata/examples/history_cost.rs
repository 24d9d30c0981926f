//! Prints what the history of 10,000 partitions costs: `cargo run --release -p klamm-metadata --example history_cost`.
//!
//! Three brokers hold every partition. They are killed and come back in turn, until every history is full; once without
//! histories (metadata level 1) and once with them. Nothing is asserted.

use std::time::Duration;

use klamm_metadata::Image;
use klamm_metadata::decide::{Claim, Fence, Overlay, bootstrap, decide, fence, unfence};
use klamm_metadata::feature::{FEATURES, METADATA_LEVEL};
use klamm_schema::Message;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, FeatureLevel, FeatureRange, MetadataRecord};
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{
    AlterPartition, AlterPartitionRequest, CreatableTopic, CreateTopicsRequest, DirectoryReport, IsrMember,
    RegisterBrokerRequest,
};
use klamm_types::{BrokerEpoch, NodeId, Timestamp};

// As the server's, which makes a difference to what small pieces cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOPICS: usize = 10;
const PARTITIONS: i32 = 1000;
const ROUNDS: usize = 33;

fn main() {
    for level in [1, 2] {
        let mut cluster = Cluster::new(level);
        let before = resident();
        let mut fencing = Vec::new();
        for round in 0..ROUNDS {
            let broker = i32::try_from(round % 3).unwrap_or(0) + 1;
            fencing.push(cluster.kill(broker, round));
            cluster.come_back(broker);
        }
        // The last ones find full histories; the least of them was disturbed least.
        let last = fencing.iter().skip(ROUNDS - 8).min().copied().unwrap_or_default();
        let (bytes, partitions) = cluster.image.partition_history_size();
        let snapshot: usize = cluster.image.to_snapshot().iter().map(Message::encoded_len).sum();
        println!(
            "level {level}: {bytes} bytes of entries in {partitions} partitions; snapshot {snapshot} bytes; memory {} KiB more",
            (resident().saturating_sub(before)) / 1024
        );
        println!(
            "level {level}: applying a fence: {last:?}, the first {:?}",
            fencing.first()
        );
    }
}

struct Cluster {
    image: Image,
    now: Timestamp,
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // an example measures; the crate itself does not
impl Cluster {
    fn new(level: u32) -> Cluster {
        let mut cluster = Cluster {
            image: Image::new(),
            now: Timestamp(1_795_000_000_000),
        };
        cluster.commit(|overlay| bootstrap(overlay, None));
        let name = METADATA_LEVEL.to_owned();
        let record = Record::FeatureLevel(FeatureLevel { name, level });
        let record = MetadataRecord {
            version: 1,
            record: Some(record),
        };
        cluster.image.apply(&record).expect("the level is known");
        for broker in 1..=3 {
            let request = registration(broker);
            cluster.commit(|overlay| decide(overlay, &request, Claim::Free));
            cluster.unfence(broker);
        }
        for number in 0..TOPICS {
            let topic = CreatableTopic {
                name: format!("topic-{number}"),
                num_partitions: PARTITIONS,
                replication_factor: 3,
                ..CreatableTopic::default()
            };
            let request = Request::CreateTopics(CreateTopicsRequest {
                topics: vec![topic],
                validate_only: false,
            });
            cluster.commit(|overlay| decide(overlay, &request, Claim::Free));
        }
        cluster
    }

    /// How long applying the decision took.
    fn commit<T>(&mut self, decision: impl FnOnce(&mut Overlay) -> T) -> Duration {
        self.now.0 += 1000;
        let index = self.image.applied_index() + 1;
        let mut overlay = Overlay::new(&self.image, self.now, u128::from(index) * 7);
        decision(&mut overlay);
        let batch = overlay.into_batch().expect("decisions apply");
        // A reader holds the image, as on a node.
        let reader = self.image.clone();
        let begin = std::time::Instant::now();
        self.image.apply_batch(index, 1, &batch).expect("the batch applies");
        let took = begin.elapsed();
        drop(reader);
        took
    }

    fn epoch(&self, broker: i32) -> BrokerEpoch {
        self.image
            .broker(NodeId(broker))
            .map_or(BrokerEpoch::NONE, |state| state.epoch)
    }

    fn kill(&mut self, broker: i32, round: usize) -> Duration {
        let call = Fence {
            broker: NodeId(broker),
            broker_epoch: self.epoch(broker),
            cause: Cause::ProcessEnded,
            evidence: format!("host-{broker}.example:9190 refuses connections ({round})"),
            last_contact: Some(self.now),
        };
        self.commit(|overlay| fence(overlay, &call))
    }

    fn unfence(&mut self, broker: i32) {
        let epoch = self.epoch(broker);
        self.commit(|overlay| unfence(overlay, NodeId(broker), epoch, Cause::CaughtUp));
    }

    /// Unfenced, and in every ISR again.
    fn come_back(&mut self, broker: i32) {
        self.unfence(broker);
        for leader in 1..=3 {
            let mut partitions = Vec::new();
            for (topic, partition, state) in self.image.partitions() {
                if state.leader == Some(NodeId(leader)) && !state.isr.contains(&NodeId(broker)) {
                    let members = state.isr.iter().map(|member| member.0).chain([broker]);
                    partitions.push(AlterPartition {
                        topic_id: klamm_schema::id_bytes(topic.id.as_bytes()),
                        partition: partition.0,
                        leader_epoch: state.leader_epoch.0,
                        partition_epoch: state.partition_epoch.0,
                        new_isr: members.map(|member| self.member(member)).collect(),
                        lost_data: Vec::new(),
                    });
                }
            }
            let request = Request::AlterPartition(AlterPartitionRequest {
                broker: leader,
                broker_epoch: self.epoch(leader).0,
                partitions,
            });
            self.commit(|overlay| decide(overlay, &request, Claim::Free));
        }
    }

    fn member(&self, broker: i32) -> IsrMember {
        let broker_epoch = self.epoch(broker).0;
        IsrMember { broker, broker_epoch }
    }
}

fn registration(broker: i32) -> Request {
    let id = |number: i32| klamm_schema::id_bytes(&[u8::try_from(number).unwrap_or(0); 16]);
    Request::RegisterBroker(RegisterBrokerRequest {
        broker,
        incarnation: id(broker),
        grpc_address: format!("host-{broker}.example:9190"),
        directories: vec![DirectoryReport {
            directory_id: id(broker + 10),
            stored_broker_epoch: -1,
        }],
        features: FEATURES
            .iter()
            .map(|feature| FeatureRange {
                name: feature.name.into(),
                min_level: feature.min_level,
                max_level: feature.max_level,
            })
            .collect(),
        ..RegisterBrokerRequest::default()
    })
}

/// Bytes of memory of this process, where Linux tells.
#[allow(clippy::disallowed_methods)] // as above
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
