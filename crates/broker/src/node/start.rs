//! Bringing a node up, part by part.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use klamm_controller::{
    Controller, ControllerClient, ControllerConfig, IdentityService, NodeIdentity, StartError as ControllerStartError,
    Timing,
};
use klamm_log::RealDisk;
use klamm_metadata::feature;
use klamm_replication::Limits;
use klamm_schema::id_bytes;
use klamm_schema::metadata::{FeatureRange, Listener};
use klamm_schema::requests::{
    DamagedReplica, DirectoryReport, LastRun as LastRunMessage, RegisterBrokerRequest, ReplicaLog,
};
use klamm_trace::Tracer;
use klamm_types::{BrokerEpoch, ClusterId, DirectoryId, Incarnation, NodeId};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tonic::service::Routes;

use super::backend::NodeBackend;
use super::copy::MetadataCopy;
use super::images::{self, Following};
use super::membership::{Membership, Standing};
use super::quorum_port::QuorumPort;
use super::{AdvertisedListener, Broker, Node, Runtimes, suspects, wishes};
use crate::config::{NodeConfig, Role};
use crate::controllers::Controllers;
use crate::coordinator::{CoordinatorConfig, Coordinators};
use crate::grpc;
use crate::lifecycle::directory::{DataDirectory, DirectoryError, LastRun, kernel_boot_id};
use crate::partitions::{
    LastStop, Partitions, PartitionsConfig, RecoveredReplica, RecoveryReport, StartError as PartitionsError,
};
use crate::producer_ids::ProducerIds;
use crate::space::{Marks, SpaceConfig};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("binding grpc_bind {address}")]
    Bind {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("opening the partitions")]
    Partitions(#[from] PartitionsError),
    #[error("starting the controller")]
    Controller(#[from] ControllerStartError),
    #[error("opening the partitions: the thread that did it ended")]
    Thread(#[source] tokio::task::JoinError),
    #[error("the address of a controller: {0}")]
    Address(String),
    #[error("starting to trace")]
    Trace(#[from] klamm_trace::StartError),
}

/// What a broker is put together from.
struct Parts {
    client: ControllerClient,
    controllers: Arc<dyn Controllers>,
    shown: images::Shown,
}

/// What all parts of a starting node share.
struct Starting {
    config: NodeConfig,
    listeners: Vec<AdvertisedListener>,
    runtimes: Runtimes,
    identity: NodeIdentity,
    /// In an earlier run, as the data directory says.
    was_registered: bool,
    boot_id: String,
    failure: watch::Sender<Option<String>>,
    tracer: Tracer,
}

impl Node {
    /// Starts a node; returns when it works, not when it has been registered. Call it on the control runtime.
    ///
    /// Boxed, so that the parts of a node are compiled in this crate, not again in the one that polls this.
    pub fn start(
        config: NodeConfig,
        listeners: Vec<AdvertisedListener>,
        runtimes: Runtimes,
    ) -> BoxFuture<'static, Result<Node, StartError>> {
        start(config, listeners, runtimes).boxed()
    }
}

async fn start(config: NodeConfig, listeners: Vec<AdvertisedListener>, runtimes: Runtimes) -> Result<Node, StartError> {
    let (failure, failed) = watch::channel(None);
    let id = NodeId(config.node_id);
    let boot_id = kernel_boot_id();
    let mut directory = DataDirectory::open(&config.data_dir, id, DirectoryId::from_u128(rand::random()), &boot_id)?;
    if let Ok(cluster) = config.cluster_id.parse::<ClusterId>() {
        directory.join(cluster)?;
    }
    let identity = NodeIdentity::new(id, Incarnation::from_u128(rand::random()), directory.cluster);
    let grpc = TcpListener::bind(&config.grpc_bind).await;
    let grpc = grpc.map_err(|source| StartError::Bind {
        address: config.grpc_bind.clone(),
        source,
    })?;
    let starting = Starting {
        tracer: tracer(&config, &runtimes.control)?,
        config,
        listeners,
        runtimes,
        identity,
        was_registered: directory.stored_epoch != BrokerEpoch::NONE,
        boot_id,
        failure,
    };
    starting.assemble(id, directory, grpc, failed).await
}

fn tracer(config: &NodeConfig, runtime: &Handle) -> Result<Tracer, klamm_trace::StartError> {
    if config.otlp_endpoint.is_empty() {
        return Ok(Tracer::off());
    }
    let traced = klamm_trace::Config {
        endpoint: config.otlp_endpoint.clone(),
        ratio: config.otlp_sampling_ratio.as_f64(),
        node_id: config.node_id,
        version: env!("CARGO_PKG_VERSION"),
    };
    Tracer::start(&traced, runtime)
}

impl Starting {
    async fn assemble(
        self,
        id: NodeId,
        directory: DataDirectory,
        grpc: TcpListener,
        failure: watch::Receiver<Option<String>>,
    ) -> Result<Node, StartError> {
        let opened = if self.config.has_role(Role::Broker) {
            directory.mark_running(&self.boot_id)?;
            Some(self.open_partitions(&directory).await?)
        } else {
            None
        };
        let controller = match self.config.has_role(Role::Controller) {
            true => Some(Controller::start(self.controller_config()).await?),
            false => None,
        };
        let (stop_grpc, stopping) = watch::channel(false);
        let control = controller.as_ref().map_or_else(Routes::default, Controller::services);
        let services = grpc::Services {
            control: control.add_service(IdentityService::server(self.identity.clone())),
            data: opened
                .as_ref()
                .map(|(partitions, _)| Routes::new(partitions.replica_service())),
            data_runtime: self.runtimes.data.clone(),
        };
        tokio::spawn(grpc::serve(grpc, services, stopping));
        let client = ControllerClient::new(self.controller_addresses(), self.identity.clone());
        let client = client.map_err(|error| StartError::Address(error.to_string()))?;
        let controllers: Arc<dyn Controllers> = Arc::new(QuorumPort(client.clone()));
        let Following {
            shown,
            committed,
            ended,
        } = images::start(&client, opened.as_ref().map(|(partitions, _)| partitions.clone()));
        self.watch_for_failure(ended, controller.as_ref());
        let parts = Parts {
            client: client.clone(),
            controllers: controllers.clone(),
            shown: shown.clone(),
        };
        let copy = self.keep_copy(&shown);
        let broker = opened.map(|(partitions, report)| self.start_broker(partitions, &report, directory, parts));
        Ok(Node {
            id,
            controllers,
            controller,
            broker,
            shown,
            committed,
            failure,
            stop_grpc,
            copy,
            tracer: self.tracer,
        })
    }

    /// Recovers every log; blocks a thread of its own.
    async fn open_partitions(&self, directory: &DataDirectory) -> Result<(Partitions, RecoveryReport), StartError> {
        let config = PartitionsConfig {
            node: NodeId(self.config.node_id),
            data_dir: self.config.data_dir.clone(),
            worker_threads: self.config.partition_threads,
            flush_threads: self.config.flush_threads,
            catch_up_disk_percent: self.config.catch_up_disk_percent,
            catch_up_bytes_per_second: self.config.catch_up_bytes_per_second_max,
            background_threads: self.config.background_threads,
            inbox_bytes_max: self.config.partition_queue_bytes_max,
            replica_bytes_max: self.config.replica_queue_bytes_max,
            tail_bytes_max: self.config.tail_bytes_per_partition,
            checkpoint_interval: Duration::from_millis(self.config.checkpoint_interval_ms),
            retention_interval: Duration::from_millis(self.config.retention_check_interval_ms),
            space: SpaceConfig {
                marks: Marks {
                    low: self.config.disk_low_bytes,
                    full: self.config.disk_full_bytes,
                    read_only: self.config.disk_read_only_bytes,
                },
                reserve_bytes: self.config.disk_reserve_bytes,
            },
            limits: Limits::default(),
            data_runtime: self.runtimes.data.clone(),
        };
        let last_stop = match directory.last_run {
            LastRun::Clean => LastStop::Clean,
            LastRun::DiedSameBoot | LastRun::DiedOtherBoot => LastStop::Unclean,
        };
        let started = move || Partitions::start(config, Arc::new(RealDisk), last_stop);
        let started = tokio::task::spawn_blocking(started).await;
        Ok(started.map_err(StartError::Thread)??)
    }

    fn controller_addresses(&self) -> BTreeMap<NodeId, String> {
        self.config
            .controllers
            .iter()
            .map(|address| (address.node, address.authority()))
            .collect()
    }

    /// A broker without a controller beside it keeps the metadata too, where a controller here would keep its store.
    fn keep_copy(&self, shown: &images::Shown) -> Option<MetadataCopy> {
        if self.config.has_role(Role::Controller) {
            return None;
        }
        let copy = MetadataCopy::new(self.quorum_folder(), shown.clone());
        tokio::spawn(copy.clone().keep());
        Some(copy)
    }

    fn quorum_folder(&self) -> PathBuf {
        self.config.data_dir.join("quorum")
    }

    fn controller_config(&self) -> ControllerConfig {
        ControllerConfig {
            identity: self.identity.clone(),
            folder: self.quorum_folder(),
            voters: self.controller_addresses(),
            own_address: self.config.grpc_address(),
            was_registered: self.was_registered,
            timing: Timing::default(),
            settings: klamm_metadata::core::Settings::default(),
            tracer: self.tracer.clone(),
        }
    }

    fn watch_for_failure(&self, ended: oneshot::Receiver<String>, controller: Option<&Controller>) {
        let failure = self.failure.clone();
        tokio::spawn(async move {
            if let Ok(reason) = ended.await {
                failure.send_replace(Some(reason));
            }
        });
        if let Some(controller) = controller {
            let (failure, failed) = (self.failure.clone(), controller.failed());
            tokio::spawn(async move {
                let reason = failed.await;
                failure.send_replace(Some(format!("the controller: {reason}")));
            });
        }
    }

    fn start_broker(
        &self,
        partitions: Partitions,
        report: &RecoveryReport,
        directory: DataDirectory,
        parts: Parts,
    ) -> Broker {
        let Parts {
            client,
            controllers,
            shown,
        } = parts;
        let id = NodeId(self.config.node_id);
        let (epoch_sender, epoch) = watch::channel(BrokerEpoch::NONE);
        let (standing_sender, standing) = watch::channel(Standing {
            fenced: true,
            ..Standing::default()
        });
        let (goodbye, goodbye_wish) = oneshot::channel();
        let membership = Membership {
            client: client.clone(),
            controllers: controllers.clone(),
            partitions: partitions.clone(),
            shown: shown.clone(),
            registration: self.registration(report, &directory),
            directory,
            epoch: epoch_sender,
            standing: standing_sender,
            goodbye: goodbye_wish,
        };
        let failure = self.failure.clone();
        tokio::spawn(async move {
            if let Err(error) = membership.run().await {
                failure.send_replace(Some(error.to_string()));
            }
        });
        tokio::spawn(wishes::carry(
            id,
            epoch.clone(),
            partitions.clone(),
            controllers.clone(),
        ));
        let coordinators = Coordinators::start(crate::coordinator::Parts {
            node: id,
            config: CoordinatorConfig::from_node(&self.config),
            partitions: partitions.clone(),
            shown: shown.clone(),
            controllers: controllers.clone(),
            data_runtime: self.runtimes.data.clone(),
        });
        tokio::spawn(suspects::carry(partitions.clone(), client.clone()));
        let backend = NodeBackend {
            identity: self.identity.clone(),
            config: self.config.clone(),
            partitions: partitions.clone(),
            controllers: controllers.clone(),
            client: client.clone(),
            shown,
            producer_ids: ProducerIds::start(id, epoch.clone(), controllers),
            coordinators,
            tracer: self.tracer.clone(),
        };
        Broker {
            partitions,
            backend: Arc::new(backend),
            epoch,
            standing,
            goodbye: std::sync::Mutex::new(Some(goodbye)),
        }
    }

    fn registration(&self, report: &RecoveryReport, directory: &DataDirectory) -> RegisterBrokerRequest {
        let http_port = self
            .config
            .http_bind
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let listeners = self.listeners.iter().map(|listener| Listener {
            name: listener.name.clone(),
            host: listener.host.clone(),
            port: u32::from(listener.port),
        });
        let features = feature::FEATURES.iter().map(|supported| FeatureRange {
            name: supported.name.to_owned(),
            min_level: supported.min_level,
            max_level: supported.max_level,
        });
        RegisterBrokerRequest {
            broker: self.config.node_id,
            cluster_id: directory
                .cluster
                .map(|cluster| id_bytes(cluster.as_bytes()))
                .unwrap_or_default(),
            incarnation: id_bytes(self.identity.incarnation().as_bytes()),
            listeners: listeners.collect(),
            grpc_address: self.config.grpc_address(),
            http_port: http_port.unwrap_or(0),
            rack: self.config.rack.clone(),
            directories: vec![DirectoryReport {
                directory_id: id_bytes(directory.id.as_bytes()),
                stored_broker_epoch: directory.stored_epoch.0,
            }],
            last_run: last_run(directory.last_run).into(),
            boot_id: self.boot_id.clone(),
            damaged: report.replicas.iter().filter_map(damaged).collect(),
            replica_logs: report.replicas.iter().map(replica_log).collect(),
            features: features.collect(),
        }
    }
}

fn damaged(replica: &RecoveredReplica) -> Option<DamagedReplica> {
    let reason = replica.damage.clone()?;
    let partition = replica.partition;
    Some(DamagedReplica {
        topic_id: id_bytes(partition.topic.as_bytes()),
        partition: partition.partition.0,
        reason,
    })
}

fn replica_log(replica: &RecoveredReplica) -> ReplicaLog {
    ReplicaLog {
        topic_id: id_bytes(replica.partition.topic.as_bytes()),
        partition: replica.partition.partition.0,
        highest_leader_epoch: replica.highest_leader_epoch.0,
        last_epoch: replica.last_epoch.0,
        log_end_offset: replica.log_end_offset.0,
        unflushed: replica.unflushed,
    }
}

fn last_run(last: LastRun) -> LastRunMessage {
    match last {
        LastRun::Clean => LastRunMessage::Clean,
        LastRun::DiedSameBoot => LastRunMessage::DiedSameBoot,
        LastRun::DiedOtherBoot => LastRunMessage::DiedOtherBoot,
    }
}
