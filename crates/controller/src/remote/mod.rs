//! What a broker uses to reach the controllers, over gRPC also within one process: submit requests, hold a session,
//! follow the metadata. It finds the active controller by itself and changes to another when that one ends.
//!
//! It decides nothing about brokers; what a reply or an end means is the caller's business.

mod follow;
mod quorum;
mod session;
mod submit;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_proto::controller::v1::controller_client::ControllerClient as GrpcClient;
use klamm_types::NodeId;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::identity::NodeIdentity;
use crate::network::channel::{self, BadAddress, MESSAGE_BYTES_MAX};

pub use follow::{MetadataEvent, MetadataFollower};
pub use quorum::Unanswered;
pub(crate) use quorum::outcome;
pub use session::{Session, SessionEnd, SessionError};
pub use submit::SubmitError;

/// The way to the controllers. Clones share what they know about the active one.
#[derive(Clone)]
pub struct ControllerClient {
    inner: Arc<Inner>,
}

struct Inner {
    identity: NodeIdentity,
    /// The configured controllers.
    configured: BTreeMap<NodeId, Place>,
    /// Controllers that joined the quorum later, as others have told; newer word replaces older.
    learned: Mutex<BTreeMap<NodeId, Place>>,
    active: watch::Sender<Option<NodeId>>,
    /// Where the next search for the active controller begins.
    turn: AtomicUsize,
}

/// Where a controller is reached.
#[derive(Clone)]
struct Place {
    address: String,
    /// For single calls; it dials again after a failure.
    channel: Channel,
}

impl Place {
    fn new(address: &str) -> Result<Place, BadAddress> {
        Ok(Place {
            address: address.to_owned(),
            channel: channel::lazy(address)?,
        })
    }
}

/// Far more controllers than any quorum has in its life.
const LEARNED_MAX: usize = 64;

impl ControllerClient {
    /// `addresses`: the gRPC addresses (`host:port`) of all controllers. Dials nobody yet, but call it inside a runtime.
    pub fn new(addresses: BTreeMap<NodeId, String>, identity: NodeIdentity) -> Result<ControllerClient, BadAddress> {
        let mut configured = BTreeMap::new();
        for (node, address) in &addresses {
            configured.insert(*node, Place::new(address)?);
        }
        let active = watch::Sender::new(None);
        let turn = AtomicUsize::new(0);
        Ok(ControllerClient {
            inner: Arc::new(Inner {
                identity,
                configured,
                learned: Mutex::default(),
                active,
                turn,
            }),
        })
    }

    pub fn identity(&self) -> &NodeIdentity {
        &self.inner.identity
    }

    /// Follows who the active controller is, as far as replies have told.
    pub fn watch_active(&self) -> watch::Receiver<Option<NodeId>> {
        self.inner.active.subscribe()
    }

    /// All controllers, the one held for active first, the others in turn.
    fn candidates(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.inner.configured.keys().copied().collect();
        nodes.extend(self.learned().keys());
        if nodes.is_empty() {
            return nodes;
        }
        let count = nodes.len();
        nodes.rotate_left(self.inner.turn.fetch_add(1, Ordering::Relaxed) % count);
        if let Some(active) = *self.inner.active.borrow() {
            nodes.sort_by_key(|node| *node != active);
        }
        nodes
    }

    fn client(&self, node: NodeId) -> Option<GrpcClient<Channel>> {
        self.channel(node).map(grpc_client)
    }

    fn channel(&self, node: NodeId) -> Option<Channel> {
        self.place(node).map(|place| place.channel)
    }

    /// What is configured counts over what was learned: an operator may have had to change it.
    fn place(&self, node: NodeId) -> Option<Place> {
        let configured = self.inner.configured.get(&node).cloned();
        configured.or_else(|| self.learned().get(&node).cloned())
    }

    fn learned(&self) -> MutexGuard<'_, BTreeMap<NodeId, Place>> {
        // No code panics while it holds the lock half-way through a change.
        self.inner.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of its own to `node`, dialled now: for streams, whose end must mean the end of the process.
    async fn connect(&self, node: NodeId) -> Result<GrpcClient<Channel>, String> {
        let Place { address, .. } = self.place(node).ok_or("it is not among the controllers")?;
        let endpoint = channel::endpoint(&address).map_err(|error| error.to_string())?;
        let channel = channel::connect(&endpoint)
            .await
            .map_err(|error| format!("dialling {address}: {error}"))?;
        Ok(grpc_client(channel))
    }

    /// Takes the word of a controller about who is active, -1 is nobody, and where that one is reached, if it said so.
    /// The quorum may have come to consist of others than those that this node was started with.
    fn heard_active(&self, controller: i32, address: &str) {
        let heard = (controller >= 0).then_some(NodeId(controller));
        if let Some(node) = heard {
            self.learn(node, address);
        }
        self.inner.active.send_if_modified(|active| {
            let news = heard.is_some() && *active != heard;
            if news {
                *active = heard;
            }
            news
        });
    }

    fn learn(&self, node: NodeId, address: &str) {
        if address.is_empty() || self.inner.configured.contains_key(&node) {
            return;
        }
        let mut learned = self.learned();
        match learned.get(&node) {
            Some(place) if place.address == address => return,
            None if learned.len() >= LEARNED_MAX => return,
            _ => {}
        }
        match Place::new(address) {
            Ok(place) => {
                tracing::info!(%node, address, "learned of a controller that is not configured here");
                learned.insert(node, place);
            }
            Err(error) => tracing::warn!(%node, address, %error, "a controller has an address that cannot be dialled"),
        }
    }

    /// `node` does not act as the active controller.
    fn not_active(&self, node: NodeId) {
        self.inner.active.send_if_modified(|active| {
            let news = *active == Some(node);
            if news {
                *active = None;
            }
            news
        });
    }
}

fn grpc_client(channel: Channel) -> GrpcClient<Channel> {
    GrpcClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
