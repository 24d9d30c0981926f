//! One node: its controller, its broker, its gRPC port, from the papers of its directory to its orderly end.
//!
//! ```text
//!   open directory ─► recover partitions ─► gRPC up ─► controller ─► follow metadata ─► register ─► session ─► serve
//!   hand over leaders ─► (front end stops) ─► close logs ─► goodbye ─► mark clean ─► controller down ─► gRPC down
//! ```
//! It assembles and orders; what the parts do stands in their files.

mod backend;
mod backup;
mod copy;
mod figures;
mod images;
mod membership;
mod quorum;
mod quorum_port;
mod start;
mod status;
mod suspects;
pub mod why;
mod wishes;

use std::sync::Arc;
use std::time::Duration;

use klamm_controller::Controller;
use klamm_schema::requests::ControlledShutdownRequest;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_trace::Tracer;
use klamm_types::{BrokerEpoch, NodeId};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

pub use figures::definitions as metric_definitions;
pub use membership::{MembershipError, Standing};
pub use start::StartError;
pub use status::{PartitionView, Status};

use crate::backend::Backend;
use crate::controllers::Controllers;
use crate::lifecycle::directory::{DataDirectory, DirectoryError};
use crate::partitions::{Partitions, Stopped};
use copy::MetadataCopy;
pub(crate) use images::Shown;

/// A listener as clients are to find it. An empty host means: the address at which a client arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedListener {
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// Where a node's tasks run. What keeps the cluster together never waits behind data.
#[derive(Clone, Debug)]
pub struct Runtimes {
    pub control: Handle,
    pub data: Handle,
}

/// Why a node did not stop in order. The next start treats the run as one that died.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("closing the logs: {0}")]
    Logs(String),
    #[error("the broker had lost its membership")]
    NoMembership,
}

/// A running node.
pub struct Node {
    id: NodeId,
    controllers: Arc<dyn Controllers>,
    controller: Option<Controller>,
    broker: Option<Broker>,
    shown: Shown,
    committed: watch::Receiver<u64>,
    failure: watch::Receiver<Option<String>>,
    stop_grpc: watch::Sender<bool>,
    /// On a node without the controller role.
    copy: Option<MetadataCopy>,
    tracer: Tracer,
}

/// What a node with the broker role has besides.
struct Broker {
    partitions: Partitions,
    backend: Arc<backend::NodeBackend>,
    epoch: watch::Receiver<BrokerEpoch>,
    standing: watch::Receiver<Standing>,
    goodbye: std::sync::Mutex<Option<oneshot::Sender<oneshot::Sender<DataDirectory>>>>,
}

/// How long leaders may take to move at an orderly stop.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
const HAND_OVER_PAUSE: Duration = Duration::from_millis(100);
const GOODBYE_MAX: Duration = Duration::from_secs(3);

impl Node {
    /// What a front end talks to; `None` without the broker role.
    pub fn backend(&self) -> Option<Arc<dyn Backend>> {
        self.broker
            .as_ref()
            .map(|broker| broker.backend.clone() as Arc<dyn Backend>)
    }

    /// Waits until the metadata shown here knows of this start of the broker, and so of everything that was decided
    /// before: a front end that answered earlier would deny topics that exist. Needs an active controller.
    pub async fn knows_of_this_start(&self) {
        let Some(broker) = &self.broker else { return };
        let (mut shown, mut standing) = (self.shown.watch(), broker.standing.clone());
        loop {
            shown.borrow_and_update();
            let epoch = standing.borrow_and_update().epoch;
            if epoch.is_some() && self.shown.image().broker(self.id).map(|me| me.epoch) == epoch {
                return;
            }
            let changed = tokio::select! {
                changed = shown.changed() => changed,
                changed = standing.changed() => changed,
            };
            if changed.is_err() {
                // The node ends, which is told elsewhere.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves with the reason when the node cannot go on.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Asks the controller to give this broker's leaderships to others, and waits until that is seen here. Gives up
    /// after a while: a stop is not held up by partitions that nobody else can lead.
    pub async fn hand_over(&self) {
        let Some(broker) = &self.broker else { return };
        let moved = tokio::time::timeout(HAND_OVER_MAX, self.move_leaders(broker)).await;
        if moved.is_err() {
            tracing::warn!("leaders had not moved after {HAND_OVER_MAX:?}; stopping all the same");
        }
    }

    async fn move_leaders(&self, broker: &Broker) {
        loop {
            let request = ControlledShutdownRequest {
                broker: self.id.0,
                broker_epoch: broker.epoch.borrow().0,
            };
            let outcome = self
                .controllers
                .submit(Request::ControlledShutdown(request), HAND_OVER_TIMEOUT)
                .await;
            match outcome.map(|decided| (decided.reply, decided.applied_index)) {
                Ok((Reply::ControlledShutdown(reply), index)) if reply.error_code == 0 => {
                    self.shown.wait_for(index).await;
                    if reply.still_led.is_empty() || !self.others_live() {
                        return;
                    }
                }
                Ok((other, _)) => {
                    tracing::info!(?other, "the controller did not move this broker's leaders");
                    return;
                }
                Err(error) => tracing::info!(%error, "asking for this broker's leaders to be moved"),
            }
            tokio::time::sleep(HAND_OVER_PAUSE).await;
        }
    }

    fn others_live(&self) -> bool {
        let image = self.shown.image();
        image
            .brokers()
            .keys()
            .any(|&other| other != self.id && image.may_lead(other))
    }

    /// Closes everything in order. The front end must have stopped before.
    pub async fn stop(&self) -> Result<(), StopError> {
        let closed = match &self.broker {
            Some(broker) => close(broker).await,
            None => Ok(()),
        };
        if let Some(controller) = &self.controller {
            controller.shutdown().await;
        }
        if let Some(copy) = &self.copy {
            copy.write().await;
        }
        self.stop_grpc.send_replace(true);
        closed
    }
}

async fn close(broker: &Broker) -> Result<(), StopError> {
    broker.backend.coordinators.stop();
    let partitions = broker.partitions.clone();
    let stopped = tokio::task::spawn_blocking(move || partitions.stop()).await;
    let logs = match stopped {
        Ok(Stopped::Clean) => Ok(()),
        Ok(Stopped::Unclean) => Err(StopError::Logs("not every log could be closed".to_owned())),
        Err(error) => Err(StopError::Logs(error.to_string())),
    };
    let wish = broker
        .goodbye
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    let (answer, answered) = oneshot::channel();
    let asked = wish.is_some_and(|wish| wish.send(answer).is_ok());
    if !asked {
        return Err(StopError::NoMembership);
    }
    let directory = tokio::time::timeout(GOODBYE_MAX, answered).await;
    let directory = directory.ok().and_then(Result::ok).ok_or(StopError::NoMembership)?;
    logs?;
    Ok(directory.mark_clean()?)
}
