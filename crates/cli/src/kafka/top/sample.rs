//! How a cluster stood at one time: what its brokers answered, as values. What was not answered is absent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_client::TopicPartition;

use super::scrape::Figures;

/// All that was learnt at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Since the looking began.
    pub at: Duration,
    pub cluster_id: String,
    /// The active controller.
    pub controller: Option<i32>,
    pub brokers: BTreeMap<i32, Broker>,
    /// In order of names.
    pub topics: Vec<Topic>,
    pub groups: BTreeMap<String, Group>,
    /// Groups that were not asked for their members and offsets, because there are too many.
    pub groups_left_out: usize,
    /// What could not be learnt, and why.
    pub troubles: Vec<String>,
}

/// One broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Broker {
    pub address: String,
    pub state: State,
    pub disk: Option<Disk>,
    /// What it tells by HTTP; Apache Kafka tells nothing there.
    pub figures: Option<Figures>,
}

/// Whether a broker serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It answers, and the cluster counts on it.
    Up,
    /// It can be reached, and the cluster does not count on it.
    Fenced,
    /// The cluster counts on it, and it does not answer.
    Silent,
    /// It cannot be reached, and the cluster does not count on it either.
    #[default]
    Down,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Fenced => "fenced",
            State::Silent => "silent",
            State::Down => "down",
        }
    }
}

/// The disks of a broker's data directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub total_bytes: u64,
    pub usable_bytes: u64,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: Arc<str>,
    /// Known of topics that lack in-sync replicas.
    pub min_in_sync: Option<usize>,
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partition {
    pub number: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    /// The high watermark.
    pub end: Option<i64>,
    /// Bytes on its leader's disk.
    pub size_bytes: Option<u64>,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub state: String,
    pub members: Option<usize>,
    /// None if it was not asked for, or not answered.
    pub committed: Option<BTreeMap<TopicPartition, i64>>,
}
