//! The metadata as one total order: the shipped decisions over the shipped image, without a quorum under them.
//!
//! What Raft adds (terms, elections, lost proposals) is left out; what a broker sees of it is not: requests and
//! replies get lost or come late, the controller is silent for a while, and every broker applies the same entries at
//! its own pace.

use std::sync::Arc;

use klamm_metadata::Image;
use klamm_metadata::decide::{Claim, Fence, Overlay, bootstrap, decide, fence, unfence};
use klamm_replication::{AlterOutcome, AlterPartition, Durability};
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, FeatureRange, Listener, MetadataBatch};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{
    AlterConfigsResource, AlterOperation, AlterPartition as AlterMessage, AlterPartitionRequest, AlterableConfig,
    ControlledShutdownRequest, CreatableTopic, CreateTopicsRequest, DamagedReplica, DirectoryReport,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, IsrMember, LastRun, RegisterBrokerRequest, ReplicaAssignment,
    ReplicaLog, ReportDamageRequest, TopicSetting,
};
use klamm_schema::{Bytes, id_bytes};
use klamm_types::{
    BrokerEpoch, DirectoryId, ErrorCode, Incarnation, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionId,
    Timestamp, TopicId,
};

use crate::plan::{BROKERS, Plan};

pub const TOPIC: &str = "sim";
pub const PARTITION: PartitionId = PartitionId(0);

/// What a broker says of itself when it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub directory: DirectoryId,
    pub stored_epoch: BrokerEpoch,
    pub last_run: LastRun,
    /// Highest leader epoch, epoch of the last record and log end; `None` where the log is not made yet.
    pub log: Option<(LeaderEpoch, LeaderEpoch, Offset)>,
    pub damaged: bool,
    pub unflushed: bool,
}

#[derive(Debug)]
pub struct Controller {
    image: Image,
    entries: Vec<Arc<MetadataBatch>>,
    topic: TopicId,
    /// Causes of the elections that may have lost records.
    risky_elections: Vec<Cause>,
}

impl Controller {
    /// A cluster whose brokers are registered and alive and which has one topic with one partition.
    pub fn new(plan: &Plan, registrations: &[Registration], random: u128) -> Result<Controller, String> {
        let mut controller = Controller {
            image: Image::new(),
            entries: Vec::new(),
            topic: TopicId::default(),
            risky_elections: Vec::new(),
        };
        controller.commit(random, |overlay| bootstrap(overlay, None))?;
        for registration in registrations {
            let epoch = controller.register(registration)?;
            controller.commit(0, |overlay| unfence(overlay, registration.node, epoch, Cause::CaughtUp))?;
        }
        let setting = |name: &str, value: String| TopicSetting {
            name: name.to_owned(),
            value: Some(value),
        };
        let durability = match plan.durability {
            Durability::Fsync => "fsync",
            Durability::Replicated => "replicated",
        };
        let request = Request::CreateTopics(CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: TOPIC.to_owned(),
                num_partitions: -1,
                replication_factor: -1,
                assignments: vec![ReplicaAssignment {
                    partition: 0,
                    replicas: (1..=BROKERS as i32).collect(),
                }],
                configs: vec![
                    setting("min.insync.replicas", plan.min_insync_replicas.to_string()),
                    setting("klamm.durability", durability.to_owned()),
                ],
                ..CreatableTopic::default()
            }],
            validate_only: false,
        });
        controller.commit(random, |overlay| decide(overlay, &request, Claim::Free))?;
        let topic = controller
            .image
            .topic_by_name(TOPIC)
            .ok_or("the topic could not be created")?;
        controller.topic = topic.id;
        Ok(controller)
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn topic(&self) -> TopicId {
        self.topic
    }

    pub fn entries_count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry with this index, counted from 1.
    pub fn entry(&self, index: u64) -> Option<Arc<MetadataBatch>> {
        let position = usize::try_from(index.checked_sub(1)?).ok()?;
        self.entries.get(position).cloned()
    }

    pub fn register(&mut self, registration: &Registration) -> Result<BrokerEpoch, String> {
        let node = registration.node;
        let topic_id = id_bytes(self.topic.as_bytes());
        let request = Request::RegisterBroker(RegisterBrokerRequest {
            broker: node.0,
            cluster_id: Bytes::new(),
            incarnation: id_bytes(&registration.incarnation.0.0),
            listeners: vec![Listener {
                name: "CLIENT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
            }],
            grpc_address: "localhost:9190".to_owned(),
            http_port: 7080,
            rack: None,
            directories: vec![DirectoryReport {
                directory_id: id_bytes(&registration.directory.0.0),
                stored_broker_epoch: registration.stored_epoch.0,
            }],
            last_run: registration.last_run.into(),
            boot_id: String::new(),
            damaged: match registration.damaged {
                true => vec![self.damaged_replica()],
                false => Vec::new(),
            },
            replica_logs: match registration.log {
                Some((highest, last, end)) => vec![ReplicaLog {
                    topic_id,
                    partition: PARTITION.0,
                    highest_leader_epoch: highest.0,
                    last_epoch: last.0,
                    log_end_offset: end.0,
                    unflushed: registration.unflushed,
                }],
                None => Vec::new(),
            },
            features: features(),
        });
        match self.commit(0, |overlay| decide(overlay, &request, Claim::Free))? {
            Reply::RegisterBroker(reply) if reply.error_code == 0 => Ok(BrokerEpoch(reply.broker_epoch)),
            other => Err(format!("the registration of {node} was refused: {other:?}")),
        }
    }

    /// Says whether anything changed.
    pub fn fence(&mut self, node: NodeId, cause: Cause) -> Result<bool, String> {
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

    pub fn unfence(&mut self, node: NodeId, broker_epoch: BrokerEpoch) -> Result<bool, String> {
        self.commit(0, |overlay| unfence(overlay, node, broker_epoch, Cause::AliveAgain))
    }

    /// Moves the lead to the preferred replica, if it may lead.
    pub fn elect_preferred(&mut self) -> Result<(), String> {
        let request = Request::ElectLeaders(ElectLeadersRequest {
            all: true,
            partitions: Vec::new(),
        });
        self.commit(0, |overlay| decide(overlay, &request, Claim::Free))
            .map(|_| ())
    }

    pub fn alter_setting(&mut self, name: &str, value: &str) -> Result<(), String> {
        let request = Request::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: TOPIC.to_owned(),
                configs: vec![AlterableConfig {
                    name: name.to_owned(),
                    operation: AlterOperation::Set.into(),
                    value: Some(value.to_owned()),
                }],
            }],
            validate_only: false,
        });
        match self.commit(0, |overlay| decide(overlay, &request, Claim::Free))? {
            Reply::IncrementalAlterConfigs(reply) if reply.resources.iter().all(|it| it.error_code == 0) => Ok(()),
            other => Err(format!("{name} cannot be set to {value}: {other:?}")),
        }
    }

    pub fn controlled_shutdown(&mut self, node: NodeId, broker_epoch: BrokerEpoch) -> Result<(), String> {
        let request = Request::ControlledShutdown(ControlledShutdownRequest {
            broker: node.0,
            broker_epoch: broker_epoch.0,
        });
        self.commit(0, |overlay| decide(overlay, &request, Claim::Free))
            .map(|_| ())
    }

    /// How many elections that may have lost records had this cause.
    pub fn elections_with(&self, cause: Cause) -> u64 {
        self.risky_elections.iter().filter(|it| **it == cause).count() as u64
    }

    pub fn report_damage(&mut self, node: NodeId, broker_epoch: BrokerEpoch) -> Result<bool, String> {
        let request = Request::ReportDamage(ReportDamageRequest {
            broker: node.0,
            broker_epoch: broker_epoch.0,
            replicas: vec![self.damaged_replica()],
            failed_directories: Vec::new(),
        });
        match self.commit(0, |overlay| decide(overlay, &request, Claim::Free))? {
            Reply::ReportDamage(reply) => Ok(reply.error_code == 0),
            other => Err(format!("not an answer to a damage report: {other:?}")),
        }
    }

    pub fn alter_partition(
        &mut self,
        leader: NodeId,
        broker_epoch: BrokerEpoch,
        asked: &AlterPartition,
    ) -> Result<AlterOutcome, String> {
        let member = |&(node, epoch): &(NodeId, BrokerEpoch)| IsrMember {
            broker: node.0,
            broker_epoch: epoch.0,
        };
        let request = Request::AlterPartition(AlterPartitionRequest {
            broker: leader.0,
            broker_epoch: broker_epoch.0,
            partitions: vec![AlterMessage {
                topic_id: id_bytes(self.topic.as_bytes()),
                partition: PARTITION.0,
                leader_epoch: asked.leader_epoch.0,
                partition_epoch: asked.partition_epoch.0,
                new_isr: asked.isr.iter().map(member).collect(),
                lost_data: asked.lost_data.iter().map(|node| node.0).collect(),
            }],
        });
        let reply = match self.commit(0, |overlay| decide(overlay, &request, Claim::Free))? {
            Reply::AlterPartition(reply) => reply,
            other => return Err(format!("not an answer to an ISR change: {other:?}")),
        };
        let result = reply.partitions.first();
        let code = result.map_or(reply.error_code, |result| result.error_code);
        let code = i16::try_from(code)
            .ok()
            .and_then(ErrorCode::from_code)
            .unwrap_or(ErrorCode::UnknownServerError);
        let epoch = result
            .and_then(|result| result.leadership.as_ref())
            .map(|state| state.partition_epoch);
        Ok(match code {
            ErrorCode::None => AlterOutcome::Committed {
                partition_epoch: PartitionEpoch(epoch.unwrap_or(asked.partition_epoch.0)),
            },
            ErrorCode::IneligibleReplica => AlterOutcome::Ineligible,
            ErrorCode::InvalidUpdateVersion => AlterOutcome::StalePartitionEpoch,
            ErrorCode::FencedLeaderEpoch | ErrorCode::NewLeaderElected => AlterOutcome::Fenced,
            ErrorCode::NotController => AlterOutcome::NotDecided,
            error => AlterOutcome::Refused { error },
        })
    }

    fn damaged_replica(&self) -> DamagedReplica {
        DamagedReplica {
            topic_id: id_bytes(self.topic.as_bytes()),
            partition: PARTITION.0,
            reason: String::new(),
        }
    }

    /// An election may only lose records if the topic allows it, or if nobody is left who could know better.
    fn note_elections(&mut self, batch: &MetadataBatch) -> Result<(), String> {
        for record in &batch.records {
            let Some(Record::PartitionChange(change)) = &record.record else {
                continue;
            };
            if !change.possible_loss {
                continue;
            }
            let cause = change.decision.as_ref().map(|decision| decision.cause());
            self.risky_elections.extend(cause);
            let allowed = self.image.allows_unclean_election(TOPIC);
            if cause == Some(Cause::UncleanElection) && !allowed {
                return Err(format!("an election that the topic does not allow: {change:?}"));
            }
        }
        Ok(())
    }

    /// Decides over the image and makes an entry of the records, if there are any.
    fn commit<T>(&mut self, random: u128, decision: impl FnOnce(&mut Overlay) -> T) -> Result<T, String> {
        let mut overlay = Overlay::new(&self.image, Timestamp(0), random);
        let reply = decision(&mut overlay);
        if !overlay.records().is_empty() {
            let batch = overlay.into_batch().map_err(|error| error.to_string())?;
            self.image
                .apply_batch(self.entries_count() + 1, 1, &batch)
                .map_err(|error| error.to_string())?;
            self.image.validate().map_err(|violation| violation.to_string())?;
            self.note_elections(&batch)?;
            self.entries.push(Arc::new(batch));
        }
        Ok(reply)
    }
}

fn features() -> Vec<FeatureRange> {
    klamm_metadata::feature::FEATURES
        .iter()
        .map(|feature| FeatureRange {
            name: feature.name.to_owned(),
            min_level: feature.min_level,
            max_level: feature.max_level,
        })
        .collect()
}
