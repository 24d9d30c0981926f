//! One controller: starts its tasks, offers its services, and ends. Nothing is decided here.
//!
//! What leads to Raft returns boxed futures: the body of an async function is compiled in the crate that polls it, so
//! that without the box each crate above would compile Raft once more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use klamm_metadata::image::Image;
use klamm_types::{ClusterId, ErrorCode, NodeId, Uuid};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tonic::service::Routes;

use crate::config::ControllerConfig;
use crate::identity::OtherCluster;
use crate::node::{Node, Queues};
use crate::quorum::describe::{DescribeError, QuorumDescription, describe};
use crate::quorum::voters::VoterChange;
use crate::quorum::{bootstrap, election, maintenance, recall};
use crate::service::{controller_server, members_change, quorum_server};
use crate::shell::Shell;
use crate::store::ages::Ages;
use crate::store::{self, Owner, StoreError};

/// How long a stopping leader waits for another to take over.
const HANDOVER_TIMEOUT: Duration = Duration::from_millis(500);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A running controller. Clones are handles on the same one.
#[derive(Clone)]
pub struct Controller {
    pub(crate) node: Arc<Node>,
}

/// Why a controller does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("opening the quorum's store")]
    Store(#[from] StoreError),
    #[error("the quorum's store and this node disagree about the cluster")]
    OtherCluster(#[from] OtherCluster),
    #[error("opening the quorum's store: the thread that did it ended")]
    Thread(#[source] std::io::Error),
}

impl Controller {
    /// Opens the store and starts to look for the quorum: to found it, to join it, or to take part again. Add
    /// [`Controller::services`] to the node's gRPC server at once, because the others ask for this node.
    ///
    /// Everything runs on the runtime that this is called on; give it one of its own.
    pub fn start(config: ControllerConfig) -> BoxFuture<'static, Result<Controller, StartError>> {
        start(config).boxed()
    }

    /// What to add to the node's gRPC server. [`crate::IdentityService`] belongs there too, on every node.
    pub fn services(&self) -> Routes {
        Routes::new(controller_server(self.node.clone())).add_service(quorum_server(self.node.clone()))
    }

    /// The quorum as its leader sees it.
    pub fn describe_quorum(&self) -> BoxFuture<'_, Result<QuorumDescription, DescribeError>> {
        describe(&self.node).boxed()
    }

    /// Adds or removes a voter, through the leader.
    pub fn change_voters(&self, change: VoterChange) -> BoxFuture<'_, Result<(), VoterChangeError>> {
        members_change(&self.node, change).boxed()
    }

    /// The metadata as far as this node has applied it.
    pub fn image(&self) -> Image {
        self.node.feed.image()
    }

    /// Follows the index of the last entry that this node has applied.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.node.feed.watch()
    }

    /// Whether this node acts as the active controller.
    pub fn is_active(&self) -> bool {
        self.node.acting.borrow().is_some()
    }

    /// The active controller, as far as this node knows.
    pub fn active(&self) -> Option<NodeId> {
        self.node.running()?.leader().map(|(_, member)| member.node_id)
    }

    /// Waits until this node is in a quorum that has a leader.
    pub async fn wait_for_leader(&self) -> (ClusterId, NodeId) {
        let running = self.node.wait_running().await;
        let mut metrics = running.raft.server_metrics();
        loop {
            if let Some((_, member)) = running.leader() {
                return (running.cluster_id, member.node_id);
            }
            if metrics.changed().await.is_err() {
                // Raft has stopped; the node's failure tells why.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends when the controller has failed for good, and says why. The process should end then.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let mut failure = self.node.failure.subscribe();
        async move {
            loop {
                if let Some(reason) = failure.borrow_and_update().clone() {
                    return reason;
                }
                if failure.changed().await.is_err() {
                    // The controller is gone without a failure.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Stops in order: hands the leadership over, says goodbye to those that watch, ends Raft.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        shutdown(&self.node).boxed()
    }
}

/// Why the voters were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changing the voters of the quorum: {code}, {message}")]
pub struct VoterChangeError {
    pub code: ErrorCode,
    pub message: String,
}

async fn start(config: ControllerConfig) -> Result<Controller, StartError> {
    let owner = Owner {
        node_id: config.identity.node_id(),
        cluster_id: config.identity.cluster_id(),
        fresh_store_id: Uuid::from_u128(crate::random::number()),
    };
    let folder = config.folder.clone();
    let work = move || store::open(&folder, &owner).map(|opened| (opened, Ages::read(&folder)));
    let opened = store::blocking(move || Ok(work())).await;
    let (opened, ages) = opened.map_err(StartError::Thread)??;
    if let Some(damage) = &opened.damage {
        tracing::error!(
            damage,
            "the quorum's store was lost; this node joins again with a fresh one"
        );
    }
    if let Some(cluster_id) = opened.identity.cluster_id {
        config.identity.agree(cluster_id)?;
    }
    let (node, queues) = Node::new(config, opened, ages);
    tokio::spawn(run(node.clone(), queues));
    Ok(Controller { node })
}

async fn shutdown(node: &Node) {
    let running = node.running();
    if let Some(running) = &running
        && running.leadership().is_some()
    {
        hand_over(running).await;
    }
    node.stopping.send_replace(true);
    if let Some(running) = running
        && tokio::time::timeout(SHUTDOWN_TIMEOUT, running.raft.shutdown())
            .await
            .is_err()
    {
        tracing::warn!("Raft did not end in time");
    }
}

/// Gives the lead to the voter with the longest log among those that answer.
async fn hand_over(running: &crate::node::Running) {
    let metrics = running.raft.metrics().borrow_watched().clone();
    let voters = metrics
        .membership_config
        .voter_ids()
        .filter(|id| *id != running.raft_id);
    let matched = |id: &u64| {
        metrics
            .replication
            .as_ref()
            .and_then(|map| map.get(id).copied().flatten())
    };
    let alive = voters.filter(|id| crate::quorum::voters::is_alive(running, &metrics, *id));
    let Some(successor) = alive.max_by_key(|id| (matched(id), std::cmp::Reverse(*id))) else {
        return;
    };
    if running.raft.trigger().transfer_leader(successor).await.is_err() {
        return;
    }
    let mut now = running.raft.server_metrics();
    let moved = async {
        while now
            .borrow_watched()
            .current_leader
            .is_none_or(|leader| leader == running.raft_id)
        {
            if now.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(HANDOVER_TIMEOUT, moved).await.is_err() {
        tracing::info!("no other controller took the lead in time");
    }
}

async fn run(node: Arc<Node>, queues: Queues) {
    bootstrap::run(node.clone()).await;
    let running = tokio::select! {
        running = node.wait_running() => running,
        () = node.stopped() => return,
    };
    tokio::spawn(election::run(node.clone(), running.clone(), queues.hints));
    tokio::spawn(recall::run(node.clone(), running.clone()));
    tokio::spawn(maintenance::run(node.clone(), running.clone()));
    if let Err(error) = Shell::new(node.clone(), running).run(queues.inputs).await {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        node.fail(format!("{error}{cause}"));
    }
}
