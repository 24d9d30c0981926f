//! Brokers without a controller: a metadata image that tests change by records, and nodes that take it up.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use klamm_log::{Disk, RealDisk, SimDisk};
use klamm_metadata::Image;
use klamm_record::{BatchBuilder, BatchOptions, Batches, DECOMPRESSED_SIZE_MAX};
use klamm_replication::{AlterPartition, Limits};
use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, MetadataBatch, MetadataRecord};
use klamm_types::{
    BrokerEpoch, ClusterId, ErrorCode, LeaderEpoch, NodeId, Offset, PartitionId, Timestamp, TopicId, TopicPartition,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::service::Routes;

use crate::api::{
    Acks, FetchPartition, FetchRequest, FetchedPartition, FollowerReads, Isolation, PartitionRole, ProduceError,
    ProduceRequest, Produced,
};
use crate::grpc;
use crate::partitions::{
    AlterOutcome, ImageSource, LastStop, Partitions, PartitionsConfig, RecoveryReport, Stopped, Wishes,
};
use crate::space::SpaceConfig;

pub const CLUSTER: ClusterId = ClusterId(klamm_types::Uuid([7; 16]));

pub fn partition(topic: u128, number: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(topic),
        partition: PartitionId(number),
    }
}

/// The metadata, as a controller would write it.
#[derive(Default)]
pub struct Meta {
    image: Image,
    broker_epoch: i64,
}

impl Meta {
    pub fn image(&self) -> Arc<Image> {
        Arc::new(self.image.clone())
    }

    pub fn apply(&mut self, records: Vec<Record>) {
        let records = records
            .into_iter()
            .map(|record| MetadataRecord {
                version: 1,
                record: Some(record),
            })
            .collect();
        let batch = MetadataBatch {
            records,
            decided_at_ms: 0,
        };
        self.image
            .apply_batch(self.image.applied_index() + 1, 1, &batch)
            .unwrap();
    }

    pub fn register(&mut self, node: NodeId, address: &str) -> BrokerEpoch {
        self.broker_epoch += 1;
        let broker_epoch = self.broker_epoch;
        self.apply(vec![
            Record::RegisterBroker(schema::RegisterBroker {
                broker: node.0,
                broker_epoch,
                incarnation: id_bytes(&[1; 16]),
                grpc_address: address.to_owned(),
                last_unfenced_epoch: -1,
                fenced: true,
                ..Default::default()
            }),
            Record::BrokerChange(schema::BrokerChange {
                broker: node.0,
                broker_epoch,
                ..Default::default()
            }),
        ]);
        BrokerEpoch(broker_epoch)
    }

    /// One partition, led by the first replica, all in sync.
    pub fn create_topic(&mut self, topic: u128, name: &str, replicas: &[i32], settings: &[(&str, &str)]) {
        let topic_id = id_bytes(TopicId::from_u128(topic).as_bytes());
        let mut records = vec![
            Record::Topic(schema::Topic {
                topic_id: topic_id.clone(),
                name: name.to_owned(),
            }),
            Record::Partition(schema::Partition {
                topic_id,
                partition: 0,
                replicas: replicas.to_vec(),
                directories: replicas.iter().map(|_| id_bytes(&[1; 16])).collect(),
                leadership: Some(schema::Leadership {
                    leader: replicas[0],
                    isr: replicas.to_vec(),
                    ..Default::default()
                }),
                decision: None,
            }),
        ];
        records.extend(settings.iter().map(|(setting, value)| config(name, setting, value)));
        self.apply(records);
    }

    pub fn set_config(&mut self, topic: &str, setting: &str, value: &str) {
        self.apply(vec![config(topic, setting, value)]);
    }

    pub fn remove_topic(&mut self, topic: u128) {
        let topic_id = id_bytes(TopicId::from_u128(topic).as_bytes());
        self.apply(vec![Record::RemoveTopic(schema::RemoveTopic { topic_id })]);
    }

    /// Changes leader (a new epoch) and ISR.
    pub fn change(&mut self, at: TopicPartition, leader: Option<i32>, isr: &[i32]) {
        let state = self.image.partition(at.topic, at.partition).unwrap();
        let mut leadership = state.to_leadership();
        if let Some(leader) = leader {
            leadership.leader = leader;
            leadership.leader_epoch += 1;
        }
        leadership.isr = isr.to_vec();
        leadership.partition_epoch += 1;
        self.apply(vec![Record::PartitionChange(schema::PartitionChange {
            topic_id: id_bytes(at.topic.as_bytes()),
            partition: at.partition.0,
            leadership: Some(leadership),
            ..Default::default()
        })]);
    }

    pub fn isr(&self, at: TopicPartition) -> Vec<NodeId> {
        self.image.partition(at.topic, at.partition).unwrap().isr.clone()
    }
}

fn config(topic: &str, setting: &str, value: &str) -> Record {
    Record::Config(schema::Config {
        resource_type: schema::ResourceType::Topic.into(),
        resource_name: topic.to_owned(),
        name: setting.to_owned(),
        value: Some(value.to_owned()),
    })
}

/// One broker.
pub struct Node {
    pub id: NodeId,
    pub partitions: Partitions,
    pub report: RecoveryReport,
    pub address: String,
    shutdown: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

impl Node {
    pub async fn start(id: i32, storage: &Storage, last_stop: LastStop) -> Node {
        let config = PartitionsConfig {
            node: NodeId(id),
            data_dir: storage.path.clone(),
            worker_threads: 2,
            flush_threads: 2,
            catch_up_disk_percent: 50,
            catch_up_bytes_per_second: 100 << 20,
            background_threads: 2,
            inbox_bytes_max: 16 << 20,
            tail_bytes_max: 1 << 20,
            replica_bytes_max: 64 << 20,
            checkpoint_interval: storage.checkpoint_interval,
            retention_interval: Duration::from_secs(3600),
            space: SpaceConfig::SMALL,
            limits: Limits::default(),
            data_runtime: Handle::current(),
        };
        let disk = Arc::clone(&storage.disk);
        let starting = tokio::task::spawn_blocking(move || Partitions::start(config, disk, last_stop).unwrap());
        let (partitions, report) = starting.await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (shutdown, stopping) = watch::channel(false);
        let services = grpc::Services {
            control: Routes::default(),
            data: Some(Routes::new(partitions.replica_service())),
            data_runtime: Handle::current(),
        };
        let server = tokio::spawn(grpc::serve(listener, services, stopping));
        Node {
            id: NodeId(id),
            partitions,
            report,
            address,
            shutdown,
            server,
        }
    }

    /// Closes the logs and ends the server.
    pub async fn stop(self) -> Stopped {
        self.shutdown.send_replace(true);
        let partitions = self.partitions.clone();
        let stopped = tokio::task::spawn_blocking(move || partitions.stop()).await.unwrap();
        self.server.await.unwrap();
        stopped
    }
}

/// Where a broker keeps its logs.
pub struct Storage {
    disk: Arc<dyn Disk>,
    pub path: PathBuf,
    checkpoint_interval: Duration,
    /// Removed with it.
    _dir: Option<tempfile::TempDir>,
}

impl Storage {
    fn real() -> Storage {
        let dir = tempfile::tempdir().unwrap();
        Storage {
            disk: Arc::new(RealDisk),
            path: dir.path().to_owned(),
            checkpoint_interval: Duration::from_millis(50),
            _dir: Some(dir),
        }
    }

    /// The same place, which must not outlive this value.
    fn share(&self) -> Storage {
        Storage {
            disk: Arc::clone(&self.disk),
            path: self.path.clone(),
            checkpoint_interval: self.checkpoint_interval,
            _dir: None,
        }
    }

    fn simulated(disk: &Arc<SimDisk>) -> Storage {
        let path = PathBuf::from("/data");
        disk.create_dir(&path).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        Storage {
            disk: Arc::<SimDisk>::clone(disk),
            path,
            checkpoint_interval: Duration::from_millis(50),
            _dir: None,
        }
    }
}

/// Several brokers that share metadata.
pub struct Cluster {
    pub meta: Arc<Mutex<Meta>>,
    pub nodes: Vec<Node>,
    pub storage: Vec<Storage>,
}

impl Cluster {
    pub async fn start(count: i32) -> Cluster {
        Cluster::on((0..count).map(|_| Storage::real()).collect()).await
    }

    /// On disks that do as they are told.
    pub async fn simulated(disks: &[Arc<SimDisk>]) -> Cluster {
        Cluster::on(disks.iter().map(Storage::simulated).collect()).await
    }

    /// On disks that do as they are told, without the flushes that checkpoints ask for.
    pub async fn simulated_without_checkpoints(disks: &[Arc<SimDisk>]) -> Cluster {
        let quiet = |disk| Storage {
            checkpoint_interval: Duration::from_secs(3600),
            ..Storage::simulated(disk)
        };
        Cluster::on(disks.iter().map(quiet).collect()).await
    }

    async fn on(storage: Vec<Storage>) -> Cluster {
        let count = storage.len() as i32;
        let mut cluster = Cluster {
            meta: Arc::default(),
            nodes: Vec::new(),
            storage,
        };
        for id in 0..count {
            cluster.add(id, LastStop::Unclean).await;
        }
        cluster
    }

    /// Starts a broker on its directory and registers it.
    pub async fn add(&mut self, id: i32, last_stop: LastStop) {
        let node = Node::start(id, &self.storage[id as usize], last_stop).await;
        self.register(node).await;
    }

    async fn register(&mut self, node: Node) {
        let broker_epoch = self.meta.lock().unwrap().register(node.id, &node.address);
        node.partitions.registered(CLUSTER, broker_epoch);
        self.nodes.retain(|other| other.id != node.id);
        self.nodes.push(node);
        self.nodes.sort_by_key(|node| node.id);
        self.publish().await;
    }

    /// As `add`, on a runtime of its own: when that is shut down, the broker's connections break as if it were killed.
    pub async fn add_mortal(&mut self, id: i32) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let storage = self.storage[id as usize].share();
        let starting = runtime.spawn(async move { Node::start(id, &storage, LastStop::Unclean).await });
        self.register(starting.await.unwrap()).await;
        runtime
    }

    pub fn node(&self, id: i32) -> &Node {
        self.nodes.iter().find(|node| node.id == NodeId(id)).unwrap()
    }

    pub fn take(&mut self, id: i32) -> Node {
        let index = self.nodes.iter().position(|node| node.id == NodeId(id)).unwrap();
        self.nodes.remove(index)
    }

    pub fn replace_disk(&mut self, id: usize, disk: Arc<SimDisk>) {
        self.storage[id].disk = disk;
    }

    pub fn directory(&self, id: i32) -> &Path {
        &self.storage[id as usize].path
    }

    /// Gives the newest image to every broker and waits until it is taken up.
    pub async fn publish(&self) {
        let image = self.meta.lock().unwrap().image();
        for node in &self.nodes {
            node.partitions
                .apply(Arc::clone(&image), ImageSource::Records)
                .wait()
                .await;
        }
    }

    pub async fn change(&self, change: impl FnOnce(&mut Meta)) {
        change(&mut self.meta.lock().unwrap());
        self.publish().await;
    }

    /// Answers the wishes of brokers, as a controller would, until `work` is done.
    pub async fn govern<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            let wishes = self.nodes.iter().map(|node| Box::pin(node.partitions.wishes()));
            let (wishes, index) = tokio::select! {
                done = &mut work => return done,
                (wishes, index, _) = select_all(wishes) => (wishes, index),
            };
            self.decide(&self.nodes[index], &wishes).await;
        }
    }

    async fn decide(&self, from: &Node, wishes: &Wishes) {
        for (at, alter) in &wishes.alter {
            let outcome = self.alter(*at, alter);
            from.partitions.alter_answered(*at, alter, outcome);
        }
        for at in wishes.damage.keys() {
            let mut meta = self.meta.lock().unwrap();
            let isr = meta.isr(*at);
            if isr.contains(&from.id) {
                let isr: Vec<i32> = isr
                    .iter()
                    .map(|node| node.0)
                    .filter(|node| *node != from.id.0)
                    .collect();
                meta.change(*at, None, &isr);
            }
        }
        from.partitions.damage_reported(wishes);
        self.publish().await;
    }

    fn alter(&self, at: TopicPartition, alter: &AlterPartition) -> AlterOutcome {
        let mut meta = self.meta.lock().unwrap();
        let state = meta.image.partition(at.topic, at.partition).unwrap().clone();
        if state.partition_epoch != alter.partition_epoch {
            return AlterOutcome::StalePartitionEpoch;
        }
        let isr: Vec<i32> = alter.isr.iter().map(|(node, _)| node.0).collect();
        meta.change(at, None, &isr);
        AlterOutcome::Committed {
            partition_epoch: state.partition_epoch.next(),
        }
    }

    /// Governs until the ISR is this one.
    pub async fn wait_for_isr(&self, at: TopicPartition, isr: &[i32]) {
        let isr: Vec<NodeId> = isr.iter().map(|node| NodeId(*node)).collect();
        while self.meta.lock().unwrap().isr(at) != isr {
            let wishes = self.nodes.iter().map(|node| Box::pin(node.partitions.wishes()));
            let (wishes, index, _) = select_all(wishes).await;
            self.decide(&self.nodes[index], &wishes).await;
        }
    }

    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

/// A batch of these values, as a producer sends it.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in values {
        builder
            .append(Timestamp(1_700_000_000_000), None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap().into_bytes()
}

pub fn request(at: TopicPartition, records: Bytes) -> ProduceRequest {
    ProduceRequest {
        partition: at,
        records,
        acks: Acks::All,
        timeout: Duration::from_secs(20),
    }
}

pub async fn produce(node: &Node, at: TopicPartition, value: &str) -> Result<Produced, ProduceError> {
    node.partitions.produce(request(at, batch(&[value]))).await.wait().await
}

pub fn fetch_request(at: TopicPartition, offset: i64, max_wait: Duration) -> FetchRequest {
    FetchRequest {
        partitions: vec![FetchPartition {
            partition: at,
            fetch_offset: Offset(offset),
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            max_bytes: 1 << 20,
        }],
        max_wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadUncommitted,
        followers: FollowerReads::Allowed,
    }
}

/// The values of an answer.
pub fn values(fetched: &FetchedPartition) -> Vec<String> {
    let data = fetched.result.as_ref().unwrap();
    let mut values = Vec::new();
    for piece in &data.records {
        for batch in Batches::new(piece.clone()) {
            for record in batch.unwrap().records(DECOMPRESSED_SIZE_MAX).unwrap() {
                let value = record.unwrap().value.unwrap();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
    }
    values
}

/// Reads from the start until there are `count` values.
pub async fn read(node: &Node, at: TopicPartition, count: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    while all.len() < count {
        // An offset that is gone never comes back: only roles may be waited for.
        let request = fetch_request(at, all.len() as i64, Duration::from_secs(20));
        let answer = node.partitions.fetch(request).await;
        match &answer[0].result {
            Ok(_) => all.extend(values(&answer[0])),
            Err(error) if error.code == ErrorCode::NotLeaderOrFollower => {
                node.partitions.wait_until_taken_up(at).await;
            }
            // A follower that has just come may hold less than its leader.
            Err(error) => panic!("reading: {error:?}"),
        }
    }
    all
}

pub async fn led(node: &Node, at: TopicPartition) {
    node.partitions.wait_for_role(at, PartitionRole::Leader).await;
}
