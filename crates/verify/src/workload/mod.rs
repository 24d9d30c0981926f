//! A steady load on one topic, written down: producers with unique values, one reader per partition.
//!
//! ```text
//!   start ─► producers and readers run ─► (faults are injected by somebody else) ─► finish:
//!   producers stop and wait for what is under way ─► readers read to the end ─► history
//! ```

mod producer;
mod progress;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use klamm_client::admin::{AdminError, NewTopic, OffsetSpec};
use klamm_client::{Client, ClientConfig, MetadataError, ProducerConfigError};
use klamm_types::PartitionId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use progress::Progress;

use crate::history::History;

/// What a run consists of. The defaults are the load that all published figures name.
#[derive(Clone, Debug)]
pub struct Load {
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    pub replication_factor: i16,
    /// The brokers of each partition, the leader first; empty: the cluster decides.
    pub assignments: Vec<Vec<i32>>,
    pub configs: Vec<(String, String)>,
    pub producers: u32,
    /// Over all producers.
    pub records_per_second: u32,
    pub record_bytes: usize,
    pub delivery_timeout: Duration,
}

impl Load {
    pub fn new(bootstrap: impl Into<String>, topic: impl Into<String>) -> Load {
        Load {
            bootstrap: bootstrap.into(),
            topic: topic.into(),
            partitions: 12,
            replication_factor: 3,
            assignments: Vec::new(),
            configs: Vec::new(),
            producers: 4,
            records_per_second: 2000,
            record_bytes: 1024,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// Why a workload could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("connecting the workload to the cluster")]
    Connect(#[from] MetadataError),
    #[error("preparing the workload's topic")]
    Prepare(#[from] AdminError),
    #[error("the workload's producer settings")]
    Settings(#[from] ProducerConfigError),
    #[error("reading partition {partition} to offset {end}: {at} was reached within {waited:?}: {reason}")]
    Unread {
        partition: i32,
        end: i64,
        at: i64,
        waited: Duration,
        reason: String,
    },
    #[error("a task of the workload failed")]
    Task(#[from] tokio::task::JoinError),
}

/// A running workload. Dropping it stops it.
pub struct Workload {
    load: Load,
    client: Client,
    started: Instant,
    progress: Progress,
    stop_producing: watch::Sender<bool>,
    read_until: watch::Sender<Option<Arc<Vec<i64>>>>,
    producers: Vec<JoinHandle<History>>,
    readers: Vec<JoinHandle<Result<History, WorkloadError>>>,
}

impl Workload {
    /// Creates the topic and starts.
    pub async fn start(load: Load) -> Result<Workload, WorkloadError> {
        let client = connect(&load.bootstrap).await?;
        let mut topic = NewTopic::new(&load.topic).partitions(load.partitions);
        topic = topic
            .replication_factor(load.replication_factor)
            .assignments(load.assignments.clone());
        for (name, value) in &load.configs {
            topic = topic.config(name, value);
        }
        client.admin().create_topic(topic).await?;
        let (started, progress) = (Instant::now(), Progress::new(load.partitions));
        let (stop_producing, stop) = watch::channel(false);
        let (read_until, until) = watch::channel(None);
        let mut producers = Vec::new();
        for number in 0..load.producers {
            let task = producer::Task {
                load: load.clone(),
                number,
                client: connect(&load.bootstrap).await?,
                started,
                progress: progress.clone(),
                stop: stop.clone(),
            };
            producers.push(tokio::spawn(task.start()?));
        }
        let reading = connect(&load.bootstrap).await?;
        let mut readers = Vec::new();
        for partition in 0..load.partitions {
            let task = reader::Task {
                client: reading.clone(),
                topic: load.topic.clone(),
                partition: PartitionId(partition),
                until: until.clone(),
            };
            readers.push(tokio::spawn(task.run()));
        }
        Ok(Workload {
            load,
            client,
            started,
            progress,
            stop_producing,
            read_until,
            producers,
            readers,
        })
    }

    pub fn load(&self) -> &Load {
        &self.load
    }

    /// A client of the same cluster.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How long it runs; times in the history count from the same start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Stops the producers, reads everything, and hands the history over. The cluster must be able to serve by then.
    pub async fn finish(self) -> Result<History, WorkloadError> {
        let _ = self.stop_producing.send(true);
        let mut history = History::default();
        for producer in self.producers {
            history.merge(producer.await?);
        }
        let mut ends = Vec::new();
        for partition in 0..self.load.partitions {
            let end = self
                .client
                .admin()
                .list_offset(&self.load.topic, PartitionId(partition), OffsetSpec::Latest)
                .await?;
            ends.push(end.map_or(0, |end| end.offset.0));
        }
        let _ = self.read_until.send(Some(Arc::new(ends)));
        for reader in self.readers {
            history.merge(reader.await??);
        }
        Ok(history)
    }
}

/// A client that notices failures at once, as a program that cares would configure it.
async fn connect(bootstrap: &str) -> Result<Client, MetadataError> {
    let config = ClientConfig {
        client_id: "klamm-verify".to_owned(),
        auto_create_topics: false,
        connect_timeout: Duration::from_secs(1),
        ..ClientConfig::new(bootstrap)
    };
    Client::connect(config).await
}
