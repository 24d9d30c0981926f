//! What brokers and people ask of the controller, in the words of its requests, and what its answers mean.

use klamm_replication::{AlterOutcome, AlterPartition, Durability};
use klamm_schema::metadata::{FeatureRange, Listener};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{
    AlterConfigsResource, AlterOperation, AlterPartition as AlterMessage, AlterPartitionRequest, AlterableConfig,
    ControlledShutdownRequest, CreatableTopic, CreateTopicsRequest, DamagedReplica, DirectoryReport,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, IsrMember, LastRun, RegisterBrokerRequest, ReplicaAssignment,
    ReplicaLog, ReportDamageRequest, TopicSetting,
};
use klamm_schema::{Bytes, id_bytes};
use klamm_types::{BrokerEpoch, DirectoryId, ErrorCode, Incarnation, LeaderEpoch, NodeId, Offset, PartitionEpoch};

use super::Partition;
use crate::plan::Setup;

/// What a broker says of itself when it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub directory: DirectoryId,
    pub stored_epoch: BrokerEpoch,
    pub last_run: LastRun,
    pub replicas: Vec<ReplicaReport>,
}

/// What it says of one of its logs.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaReport {
    pub partition: usize,
    pub highest_epoch: LeaderEpoch,
    pub last_epoch: LeaderEpoch,
    pub log_end: Offset,
    pub is_damaged: bool,
    pub is_unflushed: bool,
}

pub fn register(registration: &Registration, partitions: &[Partition]) -> Request {
    let log = |report: &ReplicaReport| {
        let partition = &partitions[report.partition];
        ReplicaLog {
            topic_id: id_bytes(partition.topic.as_bytes()),
            partition: partition.number.0,
            highest_leader_epoch: report.highest_epoch.0,
            last_epoch: report.last_epoch.0,
            log_end_offset: report.log_end.0,
            unflushed: report.is_unflushed,
        }
    };
    let damaged = registration.replicas.iter().filter(|report| report.is_damaged);
    Request::RegisterBroker(RegisterBrokerRequest {
        broker: registration.node.0,
        cluster_id: Bytes::new(),
        incarnation: id_bytes(&registration.incarnation.0.0),
        listeners: vec![Listener {
            name: "CLIENT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
        }],
        grpc_address: format!("broker-{}:9190", registration.node),
        http_port: 7080,
        rack: None,
        directories: vec![DirectoryReport {
            directory_id: id_bytes(&registration.directory.0.0),
            stored_broker_epoch: registration.stored_epoch.0,
        }],
        last_run: registration.last_run.into(),
        boot_id: String::new(),
        damaged: damaged
            .map(|report| damaged_replica(&partitions[report.partition]))
            .collect(),
        replica_logs: registration.replicas.iter().map(log).collect(),
        features: features(),
    })
}

/// A topic whose partitions have these replicas.
pub fn create_topic(name: &str, replicas: &[Vec<NodeId>], settings: &[(&str, String)]) -> Request {
    let assignment = |(partition, replicas): (i32, &Vec<NodeId>)| ReplicaAssignment {
        partition,
        replicas: replicas.iter().map(|node| node.0).collect(),
    };
    let setting = |(name, value): &(&str, String)| TopicSetting {
        name: (*name).to_owned(),
        value: Some(value.clone()),
    };
    Request::CreateTopics(CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: (0..).zip(replicas).map(assignment).collect(),
            configs: settings.iter().map(setting).collect(),
            ..CreatableTopic::default()
        }],
        validate_only: false,
    })
}

/// What the topic of the producers is set to at first.
pub fn topic_settings(setup: &Setup) -> [(&'static str, String); 2] {
    let durability = match setup.durability {
        Durability::Fsync => "fsync",
        Durability::Replicated => "replicated",
    };
    [
        ("min.insync.replicas", setup.min_insync_replicas.to_string()),
        ("klamm.durability", durability.to_owned()),
    ]
}

pub fn elect_preferred() -> Request {
    Request::ElectLeaders(ElectLeadersRequest {
        all: true,
        partitions: Vec::new(),
    })
}

fn set(resource_type: i32, resource: &str, name: &str, value: &str) -> Request {
    Request::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type,
            resource_name: resource.to_owned(),
            configs: vec![AlterableConfig {
                name: name.to_owned(),
                operation: AlterOperation::Set.into(),
                value: Some(value.to_owned()),
            }],
        }],
        validate_only: false,
    })
}

/// One of the settings of the whole cluster.
pub fn set_cluster(name: &str, value: &str) -> Request {
    set(4, "", name, value)
}

pub fn set_topic(topic: &str, name: &str, value: &str) -> Request {
    set(2, topic, name, value)
}

pub fn controlled_shutdown(node: NodeId, epoch: BrokerEpoch) -> Request {
    Request::ControlledShutdown(ControlledShutdownRequest {
        broker: node.0,
        broker_epoch: epoch.0,
    })
}

pub fn report_damage(node: NodeId, epoch: BrokerEpoch, partition: &Partition) -> Request {
    Request::ReportDamage(ReportDamageRequest {
        broker: node.0,
        broker_epoch: epoch.0,
        replicas: vec![damaged_replica(partition)],
        failed_directories: Vec::new(),
    })
}

pub fn alter_partition(leader: NodeId, epoch: BrokerEpoch, partition: &Partition, asked: &AlterPartition) -> Request {
    let member = |&(node, epoch): &(NodeId, BrokerEpoch)| IsrMember {
        broker: node.0,
        broker_epoch: epoch.0,
    };
    Request::AlterPartition(AlterPartitionRequest {
        broker: leader.0,
        broker_epoch: epoch.0,
        partitions: vec![AlterMessage {
            topic_id: id_bytes(partition.topic.as_bytes()),
            partition: partition.number.0,
            leader_epoch: asked.leader_epoch.0,
            partition_epoch: asked.partition_epoch.0,
            new_isr: asked.isr.iter().map(member).collect(),
            lost_data: asked.lost_data.iter().map(|node| node.0).collect(),
        }],
    })
}

/// What an answer to [`alter_partition`] means to the leader that asked.
pub fn alter_outcome(asked: &AlterPartition, reply: &Reply) -> Option<AlterOutcome> {
    let Reply::AlterPartition(reply) = reply else {
        return None;
    };
    let result = reply.partitions.first();
    let code = result.map_or(reply.error_code, |result| result.error_code);
    let code = i16::try_from(code).ok().and_then(ErrorCode::from_code);
    let epoch = result.and_then(|result| result.leadership.as_ref());
    Some(match code.unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => AlterOutcome::Committed {
            partition_epoch: PartitionEpoch(epoch.map_or(asked.partition_epoch.0, |state| state.partition_epoch)),
        },
        ErrorCode::IneligibleReplica => AlterOutcome::Ineligible,
        ErrorCode::InvalidUpdateVersion => AlterOutcome::StalePartitionEpoch,
        ErrorCode::FencedLeaderEpoch | ErrorCode::NewLeaderElected => AlterOutcome::Fenced,
        ErrorCode::NotController => AlterOutcome::NotDecided,
        error => AlterOutcome::Refused { error },
    })
}

fn damaged_replica(partition: &Partition) -> DamagedReplica {
    DamagedReplica {
        topic_id: id_bytes(partition.topic.as_bytes()),
        partition: partition.number.0,
        reason: String::new(),
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
