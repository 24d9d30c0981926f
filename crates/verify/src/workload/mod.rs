//! A steady load on one topic, written down: producers with unique values, one reader per partition, and a group.
//!
//! ```text
//!   start ─► producers, readers and members run ─► (faults are injected by somebody else) ─► stop_producing:
//!   producers wait for what is under way ─► read_to_end: everybody reads up to the end
//! ```

mod member;
mod producer;
mod progress;
mod reader;
mod recorder;
mod run;

use std::sync::Arc;
use std::time::Duration;

use klamm_client::admin::AdminError;
use klamm_client::{Client, GroupProtocol, MetadataError, ProducerConfigError};

pub use progress::Progress;
pub use recorder::{Live, Recorder};
pub use run::Run;

use crate::history::History;
use recorder::HistoryRecorder;

/// A log that was cut: nobody's fault only where an operator or a loss of power has done it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenCut {
    /// They read on from where it was cut, and what differs is found.
    ReadOn,
    /// They tell ([`Event::Cut`](crate::Event::Cut)) and read on from where it was cut; what is missing is found.
    Tell,
}

/// What a run consists of. The defaults are the load that all published figures name.
#[derive(Clone, Debug)]
pub struct Load {
    pub bootstrap: String,
    /// Is created, and must not exist.
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
    /// Members that read the topic together, under the topic's name as the group's. None: no group.
    pub group_members: u32,
    pub group_protocol: GroupProtocol,
    /// So often one of the members, in turn, leaves the group and comes back.
    pub rejoin_interval: Option<Duration>,
    /// How long the cluster may take to answer what is asked besides: the topic, its offsets.
    pub api_timeout: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// What the readers do when they hear that the log was cut below what they have read.
    pub when_cut: WhenCut,
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
            group_members: 0,
            group_protocol: GroupProtocol::Classic,
            rejoin_interval: None,
            api_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            when_cut: WhenCut::ReadOn,
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
    #[error("the group has not read partitions {partitions:?} to their ends within {waited:?}: {reason}")]
    UnreadByGroup {
        partitions: Vec<i32>,
        waited: Duration,
        reason: String,
    },
    #[error("a task of the workload failed")]
    Task(#[from] tokio::task::JoinError),
}

/// A running workload with its whole history. Dropping it stops it.
pub struct Workload {
    run: Run,
    recorder: Arc<HistoryRecorder>,
}

impl Workload {
    /// Creates the topic and starts.
    pub async fn start(load: Load) -> Result<Workload, WorkloadError> {
        let recorder = Arc::new(HistoryRecorder::default());
        let run = Run::start(load, recorder.clone()).await?;
        Ok(Workload { run, recorder })
    }

    pub fn load(&self) -> &Load {
        self.run.load()
    }

    /// A client of the same cluster.
    pub fn client(&self) -> &Client {
        self.run.client()
    }

    /// How long it runs; times in the history count from the same start.
    pub fn elapsed(&self) -> Duration {
        self.run.elapsed()
    }

    pub fn progress(&self) -> &Progress {
        self.run.progress()
    }

    /// Stops the producers, reads everything, and hands the history over. The cluster must be able to serve by then.
    pub async fn finish(mut self) -> Result<History, WorkloadError> {
        self.run.stop_producing().await?;
        match self.run.read_to_end().await?.pop() {
            Some(unread) => Err(unread),
            None => Ok(self.recorder.take()),
        }
    }
}
