//! A cluster in this process, for tests and examples: real nodes on free ports of 127.0.0.1, in a temporary folder.
//!
//! It behaves as separate processes do, except that nothing can be killed here; `klamm dev` is for that.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let cluster = klamm_testkit::Cluster::start().await?;
//! let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
//! client.admin().create_topic(klamm_client::admin::NewTopic::new("orders")).await?;
//! cluster.stop().await;
//! # Ok::<(), anyhow::Error>(())
//! # }).unwrap();
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use klamm_broker::config::{self, ConfigError};
use klamm_broker::node::{AdvertisedListener, Node, Runtimes, StartError};
use klamm_broker::schema::requests::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, controller_request,
};
use klamm_kafka::{BindError, Bound, ListenerSettings, Server, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("preparing a folder or a port")]
    Io(#[from] std::io::Error),
    #[error("the settings of a node")]
    Config(#[from] ConfigError),
    #[error("binding a listener")]
    Bind(#[from] BindError),
    #[error("starting a node")]
    Start(#[from] StartError),
    #[error("the cluster was not ready in time: {0}")]
    NotReady(String),
}

/// How long the nodes may take until all serve.
const READY_MAX: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Fewer than on a real cluster: a test has a handful of groups.
const OFFSETS_PARTITIONS: i32 = 4;
/// A member that dies is missed sooner than after Kafka's 45 s, so that a test need not wait so long.
const CONSUMER_SESSION: Duration = Duration::from_secs(8);
/// Kafka's numbers of the operation and of the resource.
const SET: i32 = 0;
const BROKER: i32 = 4;

/// A running cluster. Dropping it ends its tasks with the runtime; [`Cluster::stop`] ends it in order.
pub struct Cluster {
    nodes: Vec<(Node, Server)>,
    bootstrap: String,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// One node: enough for most tests. A topic gets one replica.
    pub async fn start() -> Result<Cluster, Error> {
        Cluster::with_nodes(1).await
    }

    /// Several nodes, replicating.
    pub async fn with_nodes(count: i32) -> Result<Cluster, Error> {
        let folder = tempfile::tempdir()?;
        let grpc = free_ports(count).await?;
        let voters: Vec<_> = (1..)
            .zip(&grpc)
            .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
            .collect();
        let mut nodes = Vec::new();
        for (id, port) in (1..=count).zip(&grpc) {
            let set = |key: &str, value: String| (key.to_owned(), value);
            let settings = [
                set("node_id", id.to_string()),
                set(
                    "data_dir",
                    folder.path().join(format!("node-{id}")).display().to_string(),
                ),
                set("controllers", voters.join(",")),
                set("grpc_bind", format!("127.0.0.1:{port}")),
                set("offsets_topic_num_partitions", OFFSETS_PARTITIONS.to_string()),
                set(
                    "group_consumer_session_timeout_ms",
                    CONSUMER_SESSION.as_millis().to_string(),
                ),
            ];
            nodes.push(start_node(&settings).await?);
        }
        let addresses = nodes
            .iter()
            .flat_map(|(_, server)| server.listeners())
            .map(|bound| bound.address.to_string());
        let bootstrap = addresses.collect::<Vec<_>>().join(",");
        let cluster = Cluster {
            nodes,
            bootstrap,
            _folder: folder,
        };
        cluster.ready().await?;
        cluster.settle().await?;
        Ok(cluster)
    }

    /// `HOST:PORT,…`, for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Stops every node in order.
    pub async fn stop(self) {
        for (node, server) in self.nodes {
            server.stop().await;
            if let Err(error) = node.stop().await {
                tracing::warn!(%error, "a node did not stop in order");
            }
        }
    }

    /// Groups do not wait for members that no test has.
    async fn settle(&self) -> Result<(), Error> {
        let delay = AlterableConfig {
            name: "group.initial.rebalance.delay.ms".to_owned(),
            operation: SET,
            value: Some("0".to_owned()),
        };
        let defaults = AlterConfigsResource {
            resource_type: BROKER,
            resource_name: String::new(),
            configs: vec![delay],
        };
        let request = controller_request::Request::IncrementalAlterConfigs(IncrementalAlterConfigsRequest {
            resources: vec![defaults],
            validate_only: false,
        });
        let backend = self.nodes.first().and_then(|(node, _)| node.backend());
        let backend = backend.ok_or_else(|| Error::NotReady("there is no broker".to_owned()))?;
        let settled = backend.submit(request, READY_MAX).await;
        settled.map_err(|error| Error::NotReady(error.to_string()))?;
        Ok(())
    }

    async fn ready(&self) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + READY_MAX;
        for (node, _) in &self.nodes {
            while let Some(reason) = node.unready().await {
                if tokio::time::Instant::now() >= deadline {
                    return Err(Error::NotReady(reason));
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }
}

async fn start_node(settings: &[(String, String)]) -> Result<(Node, Server), Error> {
    let config = config::load(None, &std::collections::BTreeMap::new(), settings)?;
    let listener = ListenerSettings {
        name: "HOST".to_owned(),
        bind_host: Ipv4Addr::LOCALHOST.to_string(),
        bind_port: 0,
        advertised_host: None,
        advertised_port: None,
    };
    let bound = Bound::bind(Settings {
        listeners: vec![listener],
        ..Settings::default()
    })
    .await?;
    let listeners = bound.listeners().iter().map(|listener| AdvertisedListener {
        name: listener.name.clone(),
        host: listener.address.ip().to_string(),
        port: listener.advertised_port,
    });
    let listeners = listeners.collect();
    let runtimes = Runtimes {
        control: Handle::current(),
        data: Handle::current(),
    };
    let node = Node::start(config, listeners, runtimes).await?;
    // A node started with both roles has a backend.
    let backend = node
        .backend()
        .ok_or_else(|| Error::NotReady("the node is no broker".to_owned()))?;
    Ok((node, bound.serve(backend)))
}

/// Ports that are free now; all are held until the last one is known.
async fn free_ports(count: i32) -> Result<Vec<u16>, std::io::Error> {
    let (mut held, mut ports) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        ports.push(listener.local_addr()?.port());
        held.push(listener);
    }
    Ok(ports)
}
