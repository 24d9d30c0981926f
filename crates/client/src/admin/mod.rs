//! Administration: topics, settings, offsets, groups, the cluster and its controller quorum.
//!
//! Requests go to any broker, or to a partition's leader or a group's coordinator where only that one can answer. What only reads is repeated
//! until it succeeds or `api_timeout` is over; what changes something is repeated only while it certainly had no
//! effect.

mod configs;
mod coordinator;
mod describe;
mod error;
mod group_offsets;
mod groups;
mod log_dirs;
mod offsets;
mod quorum;
mod topics;
mod versions;

use std::time::Duration;

use klamm_types::{ErrorCode, NodeId};
use klamm_wire::Request;
use tokio::time::{Instant, sleep};

pub use configs::{AlterConfig, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym, ConfigValueType};
pub use describe::{ClusterBroker, ClusterDescription, PartitionDescription, TopicDescription, TopicListing};
pub use error::AdminError;
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupState, GroupType};
pub use log_dirs::{LogDirDescription, LogDirReplica};
pub use offsets::{EpochEnd, ListedOffset, OffsetSpec};
pub use quorum::{QuorumDescription, QuorumNode, QuorumReplica, Voter};
pub use topics::{CreateMode, CreatedTopic, NewTopic};
pub use versions::ApiVersions;

use crate::client::Client;
use crate::error::RequestError;
use crate::net::{Connection, Reply};

/// Whether a request may be repeated when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Change,
}

/// Administration of a cluster, through a [`Client`].
///
/// ```
/// use klamm_client::{Client, ClientConfig};
/// use klamm_client::admin::NewTopic;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = klamm_testkit::Cluster::start().await?;
/// let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await?;
/// let created = client.admin().create_topic(NewTopic::new("orders").partitions(6)).await?;
/// println!("{} partitions", created.partitions);
/// # cluster.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Admin {
        Admin { client }
    }

    fn timeout(&self) -> Duration {
        self.client.config().api_timeout
    }

    /// Kafka's form of the time that the cluster may take over a change.
    fn timeout_ms(&self) -> i32 {
        let within = self.timeout().min(self.client.config().request_timeout);
        i32::try_from(within.as_millis()).unwrap_or(i32::MAX)
    }

    /// Sends a request to whichever broker answers, the controller's stand-in first.
    async fn call_any<R: Request>(&self, kind: Kind, request: &R) -> Result<Reply, AdminError> {
        let deadline = Instant::now() + self.timeout();
        loop {
            let controller = self.client.cluster().controller;
            let attempt = match self.client.any_connection(controller).await {
                Ok(connection) => self.call(&connection, request).await,
                Err(failure) => Err(failure),
            };
            let failure = match attempt {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let repeatable = kind == Kind::Read || !failure.may_have_had_effect();
            if !failure.is_retriable() || !repeatable || Instant::now() >= deadline {
                return Err(AdminError::Request {
                    api: R::KEY,
                    cause: failure,
                });
            }
            self.client.refresh();
            sleep(self.client.config().retry_backoff).await;
        }
    }

    async fn call_node<R: Request>(&self, node: NodeId, request: &R) -> Result<Reply, AdminError> {
        let reply = self.client.call(node, request).await;
        reply.map_err(|cause| AdminError::Request { api: R::KEY, cause })
    }

    async fn call<R: Request>(&self, connection: &Connection, request: &R) -> Result<Reply, RequestError> {
        connection.call(request, self.client.config().request_timeout).await
    }
}

/// Reads the answer to an `R`.
fn decode<R: Request>(reply: &Reply) -> Result<R::Response<'_>, AdminError> {
    reply
        .decode::<R>()
        .map_err(|cause| AdminError::Decode { api: R::KEY, cause })
}

/// Turns a code and its text into a result.
fn accept(what: &str, code: i16, message: Option<&str>) -> Result<(), AdminError> {
    match crate::client::check(code) {
        Ok(()) => Ok(()),
        Err(code) => Err(refused(what, code, message)),
    }
}

fn refused(what: &str, code: ErrorCode, message: Option<&str>) -> AdminError {
    let message = message
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| code.sentence());
    AdminError::Refused {
        what: what.to_owned(),
        message: message.to_owned(),
        code,
    }
}
