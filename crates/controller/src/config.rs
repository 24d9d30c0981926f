//! What a controller is started with. Values only; they are checked when the controller starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use klamm_metadata::core::Settings;
use klamm_trace::Tracer;
use klamm_types::NodeId;

use crate::identity::NodeIdentity;

/// Entries that are removed from the log at once.
const PURGE_BATCH_MAX: u64 = 256;

/// The start of one controller.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    pub identity: NodeIdentity,
    /// The folder for the quorum's store and the snapshot of the metadata; nothing else may be kept in it.
    pub folder: PathBuf,
    /// gRPC addresses (`host:port`) of the controllers that found the quorum, this node's own among them, the same on
    /// all. A node that is not among them, or whose store is lost, joins a quorum that exists.
    pub voters: BTreeMap<NodeId, String>,
    /// Where the other controllers reach this node's gRPC server.
    pub own_address: String,
    /// The node has been a broker of the cluster, as its data directory says: there has been a quorum.
    pub was_registered: bool,
    pub timing: Timing,
    /// The limits of the metadata core. The cluster id in it is filled in by the quorum.
    pub settings: Settings,
    pub tracer: Tracer,
}

/// The quorum's waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_interval: Duration,
    /// A follower waits the maximum, then a random time between both, before it asks for votes.
    pub election_timeout_min: Duration,
    pub election_timeout_max: Duration,
    /// Entries after which a new snapshot of the metadata is written.
    pub snapshot_entries: u64,
    /// After so long a snapshot is written if anything has changed, for the day when the quorum is lost.
    pub snapshot_interval: Duration,
    /// Entries that stay in the log although a snapshot holds them, for members that are a little behind.
    pub log_entries_kept: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(250),
            election_timeout_max: Duration::from_millis(400),
            snapshot_entries: 5_000,
            snapshot_interval: Duration::from_secs(60),
            log_entries_kept: 1_000,
        }
    }
}

impl Timing {
    pub(crate) fn to_openraft(self, cluster_name: String) -> openraft::Config {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name,
            heartbeat_interval: millis(self.heartbeat_interval),
            election_timeout_min: millis(self.election_timeout_min),
            election_timeout_max: millis(self.election_timeout_max),
            install_snapshot_timeout: 30_000,
            max_payload_entries: 64,
            max_append_entries: Some(64),
            replication_lag_threshold: self.snapshot_entries + self.log_entries_kept,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            purge_batch_size: self.log_entries_kept.clamp(1, PURGE_BATCH_MAX),
            api_channel_size: Some(1_024),
            notification_channel_size: Some(4_096),
            state_machine_channel_size: Some(256),
            enable_pre_vote: Some(true),
            // A leader that restarts asks for votes like everyone.
            enable_leader_restore: Some(false),
            backoff: "20ms 40ms 80ms ...200ms".into(),
            ..openraft::Config::default()
        }
    }
}
