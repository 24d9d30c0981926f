//! Clusters for tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{ControllerReply, DirectoryReport, RegisterBrokerRequest, SessionHeartbeat, SessionOpen};
use klamm_types::{ClusterId, Incarnation, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::node::Running;
use crate::remote::{MetadataEvent, Session};
use crate::{Controller, ControllerClient, ControllerConfig, IdentityService, NodeIdentity, Timing};

/// After so long a wait is a failure.
pub const LIMIT: Duration = Duration::from_secs(20);

/// One node: its folder lives on when the node dies.
pub struct TestNode {
    pub id: NodeId,
    pub folder: TempDir,
    pub address: String,
    alive: Option<Alive>,
}

struct Alive {
    runtime: Runtime,
    controller: Controller,
}

pub struct Cluster {
    pub nodes: BTreeMap<NodeId, TestNode>,
    /// As every node's configuration has them.
    pub addresses: BTreeMap<NodeId, String>,
    /// What one node believes of another's address instead.
    pub wrong: BTreeMap<(NodeId, NodeId), String>,
    pub runtime: Runtime,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A port that is free now; nodes keep theirs over restarts.
pub fn free_address() -> String {
    // On a host of its own: connections, which come from 127.0.0.1, take no port of a node that is down.
    let [second, third]: [u8; 2] = rand::random();
    let host = std::net::Ipv4Addr::new(127, second.max(1), third, 1);
    let listener = std::net::TcpListener::bind((host, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

impl Cluster {
    /// Nodes 1 to `count`, not started.
    pub fn new(count: i32) -> Cluster {
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            wrong: BTreeMap::new(),
            runtime: runtime(),
        };
        for id in 1..=count {
            let address = cluster.add_node(NodeId(id));
            cluster.addresses.insert(NodeId(id), address);
        }
        cluster
    }

    /// A node that is not among the founders.
    pub fn add_node(&mut self, id: NodeId) -> String {
        let node = TestNode {
            id,
            folder: tempfile::tempdir().unwrap(),
            address: free_address(),
            alive: None,
        };
        let address = node.address.clone();
        self.nodes.insert(id, node);
        address
    }

    /// `count` nodes, started, with a leader.
    pub fn started(count: i32) -> Cluster {
        let mut cluster = Cluster::new(count);
        cluster.start_all();
        cluster.wait_for_leader();
        cluster
    }

    pub fn start_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.start(id, None);
        }
    }

    pub fn start(&mut self, id: NodeId, cluster_id: Option<ClusterId>) {
        let mut voters = self.addresses.clone();
        for ((believer, about), address) in &self.wrong {
            if *believer == id {
                voters.insert(*about, address.clone());
            }
        }
        let node = self.nodes.get_mut(&id).unwrap();
        let identity = NodeIdentity::new(id, Incarnation::from_u128(rand::random()), cluster_id);
        let config = ControllerConfig {
            identity: identity.clone(),
            folder: node.folder.path().to_owned(),
            voters,
            own_address: node.address.clone(),
            was_registered: false,
            timing: Timing::default(),
            settings: klamm_metadata::core::Settings::default(),
            tracer: klamm_trace::Tracer::off(),
        };
        let runtime = runtime();
        let address: SocketAddr = node.address.parse().unwrap();
        let controller = runtime.block_on(async move {
            let controller = Controller::start(config).await.unwrap();
            let incoming = TcpIncoming::from(TcpListener::bind(address).await.unwrap()).with_nodelay(Some(true));
            let server = Server::builder()
                .add_routes(controller.services())
                .add_service(IdentityService::server(identity))
                .serve_with_incoming(incoming);
            tokio::spawn(server);
            controller
        });
        node.alive = Some(Alive { runtime, controller });
    }

    /// The node's process is gone: its sockets end, nothing is said.
    pub fn kill(&mut self, id: NodeId) {
        if let Some(alive) = self.nodes.get_mut(&id).unwrap().alive.take() {
            drop(alive.controller);
            // No thread of a process outlives it, and goes on writing beside the next one.
            alive.runtime.shutdown_timeout(LIMIT);
        }
    }

    /// The node stops in order.
    pub fn stop(&mut self, id: NodeId) {
        let alive = self.nodes.get_mut(&id).unwrap().alive.take().unwrap();
        alive.runtime.block_on(alive.controller.shutdown());
        alive.runtime.shutdown_timeout(LIMIT);
    }

    pub fn wipe(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).unwrap().folder = tempfile::tempdir().unwrap();
    }

    /// A copy of a dead node's folder.
    pub fn keep(&self, id: NodeId) -> TempDir {
        let node = &self.nodes[&id];
        assert!(node.alive.is_none(), "node {id} runs");
        // Waits until the node's last thread has let go of the store.
        crate::store::read_log(node.folder.path()).unwrap();
        let kept = tempfile::tempdir().unwrap();
        copy(node.folder.path(), kept.path());
        kept
    }

    /// The dead node's disk is the old copy.
    pub fn restore(&mut self, id: NodeId, kept: TempDir) {
        self.nodes.get_mut(&id).unwrap().folder = kept;
    }

    pub fn controller(&self, id: NodeId) -> &Controller {
        &self.nodes[&id].alive.as_ref().unwrap().controller
    }

    /// Waits inside the node's own runtime.
    pub fn on<T>(&self, id: NodeId, work: impl Future<Output = T>) -> T {
        let alive = self.nodes[&id].alive.as_ref().unwrap();
        alive.runtime.block_on(async {
            tokio::time::timeout(LIMIT, work)
                .await
                .expect("the wait came to an end")
        })
    }

    pub fn alive(&self) -> Vec<NodeId> {
        self.nodes
            .values()
            .filter(|node| node.alive.is_some())
            .map(|node| node.id)
            .collect()
    }

    /// Waits until some node acts as the controller.
    pub fn wait_for_leader(&self) -> NodeId {
        let until = Instant::now() + LIMIT;
        loop {
            for id in self.alive() {
                // The end of a wait without an event on this one node only means to look at the next.
                let acting = self.controller(id).node.acting.subscribe();
                let leads = self.on(id, async move {
                    let mut acting = acting;
                    let change = tokio::time::timeout(Duration::from_millis(2), acting.wait_for(Option::is_some));
                    change.await.is_ok_and(|acting| acting.is_ok())
                });
                if leads {
                    return id;
                }
            }
            assert!(Instant::now() < until, "no node came to lead");
        }
    }

    /// Hands the lead to `id`, and waits until all agree.
    pub fn make_leader(&self, id: NodeId) {
        let target = self.running(id).raft_id;
        let leader = self.wait_for_leader();
        if leader != id {
            self.wait_for_metrics(leader, "the next leader has the log", |metrics| {
                let matched = metrics
                    .replication
                    .as_ref()
                    .and_then(|map| map.get(&target).copied().flatten());
                matched.map(|id| id.index) >= metrics.last_log_index
            });
            let raft = self.running(leader).raft;
            self.on(
                leader,
                async move { raft.trigger().transfer_leader(target).await.unwrap() },
            );
        }
        for node in self.alive() {
            let mut acting = self.controller(node).node.acting.subscribe();
            self.on(node, async move {
                assert!(acting.wait_for(|acting| acting.is_some() == (node == id)).await.is_ok())
            });
        }
    }

    pub fn running(&self, id: NodeId) -> Running {
        let controller = self.controller(id).clone();
        self.on(id, async move { controller.node.wait_running().await })
    }

    /// Waits until the node's Raft metrics fit.
    pub fn wait_for_metrics(&self, id: NodeId, what: &str, fits: impl Fn(&crate::raft::types::Metrics) -> bool) {
        let mut metrics = self.running(id).raft.metrics();
        self.on(id, async move {
            while !fits(&metrics.borrow_watched()) {
                metrics.changed().await.expect(what);
            }
        });
    }

    /// Waits until the node has applied entry `index`.
    pub fn wait_for_applied(&self, id: NodeId, index: u64) {
        let mut applied = self.controller(id).watch_applied();
        self.on(id, async move {
            applied.wait_for(|applied| *applied >= index).await.unwrap();
        });
    }

    pub fn client(&self) -> ControllerClient {
        let _runtime = self.runtime.enter();
        ControllerClient::new(self.addresses.clone(), client_identity(100)).unwrap()
    }

    pub fn submit(&self, request: Request) -> ControllerReply {
        let client = self.client();
        self.runtime.block_on(client.submit(request, LIMIT)).unwrap()
    }

    /// A write that every controller takes: registers a broker that does not exist. Says the entry's index.
    pub fn write(&self, broker: i32) -> u64 {
        let reply = self.submit(registration(broker, rand::random(), "127.0.0.1:1"));
        assert_eq!(reply.error_code, 0, "{}", reply.error_message);
        reply.applied_index
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in self.alive() {
            self.kill(id);
        }
    }
}

pub fn client_identity(node: i32) -> NodeIdentity {
    NodeIdentity::new(NodeId(node), Incarnation::from_u128(rand::random()), None)
}

pub fn registration(broker: i32, incarnation: u128, address: &str) -> Request {
    Request::RegisterBroker(RegisterBrokerRequest {
        broker,
        incarnation: incarnation.to_be_bytes().to_vec().into(),
        grpc_address: address.to_owned(),
        directories: vec![DirectoryReport {
            directory_id: (1000 + broker as u128).to_be_bytes().to_vec().into(),
            stored_broker_epoch: -1,
        }],
        features: klamm_metadata::feature::FEATURES
            .iter()
            .map(|feature| klamm_schema::metadata::FeatureRange {
                name: feature.name.into(),
                min_level: feature.min_level,
                max_level: feature.max_level,
            })
            .collect(),
        ..RegisterBrokerRequest::default()
    })
}

/// A broker as far as the controllers see one: registered, in session, answering `Identify`.
pub struct TestBroker {
    pub id: i32,

    runtime: Option<Runtime>,
}

impl TestBroker {
    /// Registers and keeps a session until dropped.
    pub fn start(cluster: &Cluster, id: i32) -> TestBroker {
        let runtime = runtime();
        let addresses = cluster.addresses.clone();
        runtime.block_on(async move {
            let identity = client_identity(id);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = Server::builder().add_service(IdentityService::server(identity.clone()));
            tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            let client = ControllerClient::new(addresses, identity.clone()).unwrap();
            let request = registration(id, identity.incarnation().0.to_u128(), &address);
            let reply = client.submit(request, LIMIT).await.unwrap();
            let Some(Reply::RegisterBroker(reply)) = reply.reply else {
                panic!("not registered: {reply:?}")
            };
            assert_eq!(reply.error_code, 0, "{}", reply.error_message);
            tokio::spawn(live(client, id, reply.broker_epoch));
        });
        TestBroker {
            id,
            runtime: Some(runtime),
        }
    }

    pub fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Sessions one after the other, and the metadata.
async fn live(client: ControllerClient, id: i32, epoch: i64) {
    let mut follower = client.follow_metadata(0);
    let mut applied = 0;
    loop {
        let open = SessionOpen {
            cluster_id: client.identity().cluster_bytes(),
            broker: id,
            broker_epoch: epoch,
            incarnation: client.identity().incarnation().as_bytes().to_vec().into(),
            applied_index: applied,
        };
        let Ok(mut session) = client.open_session(open, LIMIT).await else {
            return;
        };
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                event = follower.next() => match event {
                    Some(MetadataEvent::Snapshot(image)) => applied = image.applied_index(),
                    Some(MetadataEvent::Batch { index, .. }) => applied = index,
                    Some(MetadataEvent::Committed { .. }) => continue,
                    None => return,
                },
                reply = session.next() => match reply {
                    Ok(_) => continue,
                    Err(_) => break,
                },
            }
            if beat_once(&session, applied).await.is_err() {
                break;
            }
        }
    }
}

async fn beat_once(session: &Session, applied: u64) -> Result<(), crate::SessionEnd> {
    session
        .heartbeat(SessionHeartbeat {
            applied_index: applied,
            ready: true,
        })
        .await
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
