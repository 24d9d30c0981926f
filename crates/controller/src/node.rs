//! What the services and tasks of one controller share. It holds handles; what is done with them stands elsewhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_metadata::decide::Ended;
use klamm_types::{ClusterId, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{mpsc, watch};

use crate::config::ControllerConfig;
use crate::network::peers::Peers;
use crate::network::promises::Promises;
use crate::raft::Feed;
use crate::raft::types::{LeaderId, Member, Raft, RaftId};
use crate::shell::Input;
use crate::store::ages::Ages;
use crate::store::{Identity, LogStore, Opened};

/// One controller, running or still looking for its quorum.
pub struct Node {
    pub config: ControllerConfig,
    /// None while an old copy makes room for a fresh store.
    log: Mutex<Option<LogStore>>,
    pub feed: Arc<Feed>,
    stored: Mutex<Identity>,
    running: watch::Sender<Option<Running>>,
    /// Turns true when the node stops in order.
    pub stopping: watch::Sender<bool>,
    /// The leader as which the shell acts: requests and sessions are taken only then.
    pub acting: watch::Sender<Option<LeaderId>>,
    pub inputs: mpsc::Sender<Input>,
    /// Raft ids that another member thinks dead.
    pub hints: mpsc::Sender<RaftId>,
    /// Why the controller can do no more.
    pub failure: watch::Sender<Option<String>>,
    /// How old this node has seen the others' stores.
    pub ages: Arc<tokio::sync::Mutex<Ages>>,
    /// What the others' stores have promised to this process.
    pub promises: Promises,
    /// Held while the node becomes a member, which several calls may try at once.
    pub starting: tokio::sync::Mutex<()>,
    numbers: AtomicU64,
    /// When each member last had the leader's whole log, in milliseconds since 1970; kept while this node leads.
    caught_up: Mutex<BTreeMap<RaftId, i64>>,
    /// The end of the leader that this node watched last, if it saw it.
    seen_end: Mutex<Option<Ended>>,
}

/// A member of a quorum.
#[derive(Clone)]
pub struct Running {
    pub raft: Raft,
    pub raft_id: RaftId,
    pub cluster_id: ClusterId,
    pub peers: Peers,
}

/// The receiving ends of a node's queues.
pub struct Queues {
    pub inputs: mpsc::Receiver<Input>,
    pub hints: mpsc::Receiver<RaftId>,
}

const INPUTS_MAX: usize = 4096;
const HINTS_MAX: usize = 16;

impl Node {
    pub fn new(config: ControllerConfig, opened: Opened, ages: Ages) -> (Arc<Node>, Queues) {
        let (inputs, inputs_queue) = mpsc::channel(INPUTS_MAX);
        let (hints, hints_queue) = mpsc::channel(HINTS_MAX);
        let node = Node {
            config,
            log: Mutex::new(Some(opened.log)),
            feed: Arc::default(),
            stored: Mutex::new(opened.identity),
            running: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            acting: watch::Sender::new(None),
            inputs,
            hints,
            failure: watch::Sender::new(None),
            ages: Arc::new(tokio::sync::Mutex::new(ages)),
            promises: Promises::default(),
            starting: tokio::sync::Mutex::default(),
            numbers: AtomicU64::new(1),
            caught_up: Mutex::default(),
            seen_end: Mutex::default(),
        };
        (
            Arc::new(node),
            Queues {
                inputs: inputs_queue,
                hints: hints_queue,
            },
        )
    }

    pub fn node_id(&self) -> NodeId {
        self.config.identity.node_id()
    }

    /// A number that this process uses once: for requests and sessions.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn stored(&self) -> MutexGuard<'_, Identity> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn log(&self) -> Option<LogStore> {
        self.lock_log().clone()
    }

    fn lock_log(&self) -> MutexGuard<'_, Option<LogStore>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the store. Nothing may run on it.
    pub fn close_store(&self) {
        *self.lock_log() = None;
    }

    pub fn set_store(&self, opened: Opened) {
        *self.stored() = opened.identity;
        *self.lock_log() = Some(opened.log);
    }

    /// Whether the store belongs to a quorum.
    pub fn is_initialized(&self) -> bool {
        self.lock_log().as_ref().is_some_and(LogStore::is_initialized)
    }

    /// Whether this node has been in the cluster, and knows nothing of a quorum any more.
    pub fn has_lost_its_store(&self) -> bool {
        (self.config.was_registered || self.stored().replaces_lost) && !self.is_initialized()
    }

    pub fn caught_up(&self) -> MutexGuard<'_, BTreeMap<RaftId, i64>> {
        self.caught_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn seen_end(&self) -> MutexGuard<'_, Option<Ended>> {
        self.seen_end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn running(&self) -> Option<Running> {
        self.running.borrow().clone()
    }

    pub fn set_running(&self, running: Running) {
        self.running.send_replace(Some(running));
    }

    /// Waits until this node is a member of a quorum.
    pub async fn wait_running(&self) -> Running {
        let mut running = self.running.subscribe();
        loop {
            if let Some(running) = running.borrow_and_update().clone() {
                return running;
            }
            if running.changed().await.is_err() {
                // Cannot happen while `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Who is the active controller as far as this node knows, and where it is reached by gRPC.
    pub fn known_active(&self) -> Option<(NodeId, String)> {
        if self.acting.borrow().is_some() {
            return Some((self.node_id(), self.config.own_address.clone()));
        }
        let running = self.running()?;
        let (_, member) = running.leader()?;
        Some((member.node_id, running.peers.address(&member).to_owned()))
    }

    /// Waits until the node stops.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // An error would mean that the sender is gone, which is a stop too.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }

    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the controller stops");
        self.failure.send_replace(Some(reason));
        self.stopping.send_replace(true);
    }
}

impl Running {
    /// The Raft leader that this member knows of.
    pub fn leader(&self) -> Option<(RaftId, Member)> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let id = metrics.current_leader?;
        let member = metrics.membership_config.get_node(&id)?.clone();
        Some((id, member))
    }

    /// This member's own leadership, if it holds one.
    pub fn leadership(&self) -> Option<LeaderId> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let leads = metrics.state == openraft::ServerState::Leader
            && metrics.vote.committed
            && metrics.vote.leader_id.node_id == self.raft_id;
        leads.then_some(metrics.vote.leader_id)
    }
}
