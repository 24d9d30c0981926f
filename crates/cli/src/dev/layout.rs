//! Where a development cluster's nodes live and which addresses they have: the folder, its ports, `cluster.json`.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

/// The addresses of all nodes, as `cluster.json` holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub bootstrap: String,
    pub nodes: Vec<Node>,
}

/// One node's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: i32,
    pub kafka: String,
    pub grpc: String,
    pub http: String,
}

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn node(&self, id: i32) -> PathBuf {
        self.0.join(format!("node-{id}"))
    }

    pub fn data(&self, id: i32) -> PathBuf {
        self.node(id).join("data")
    }

    pub fn log(&self, id: i32) -> PathBuf {
        self.node(id).join("log")
    }

    pub fn pid_file(&self, id: i32) -> PathBuf {
        self.node(id).join("klamm.pid")
    }

    /// The socket over which another terminal asks for a node to be started again. Unix limits the length of such a
    /// path, so it is relative to the folder and reached through it.
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// The number of the process that runs a node; an error if none is known.
    pub fn pid(&self, id: i32) -> anyhow::Result<rustix::process::Pid> {
        let path = self.pid_file(id);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("node {id} has never run here: no file {}", path.display()))?;
        let number = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        number.with_context(|| format!("{} holds no process number", path.display()))
    }

    pub fn read(&self) -> anyhow::Result<Option<Cluster>> {
        let path = self.0.join("cluster.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let cluster = serde_json::from_slice(&bytes);
                Ok(Some(cluster.with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    pub fn write(&self, cluster: &Cluster) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.0).with_context(|| format!("creating {}", self.0.display()))?;
        let text = serde_json::to_string_pretty(cluster)?;
        let path = self.0.join("cluster.json");
        std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

/// The addresses for a cluster in `folder`: those it had, if it ran before, else from the first port.
pub fn addresses(folder: &Folder, nodes: u16, port: u16) -> anyhow::Result<Cluster> {
    if let Some(cluster) = folder.read()? {
        ensure!(
            cluster.nodes.len() == usize::from(nodes),
            "{} holds a cluster of {} nodes, not {nodes}: choose another folder with --in, or remove it",
            folder.path().display(),
            cluster.nodes.len()
        );
        let first = cluster.nodes.first().map(|node| port_of(&node.kafka)).transpose()?;
        if port == 0 || first == Some(port) {
            return Ok(cluster);
        }
    }
    let cluster = if port == 0 {
        free_addresses(nodes)?
    } else {
        fixed_addresses(nodes, port)?
    };
    Ok(cluster)
}

fn fixed_addresses(nodes: u16, port: u16) -> anyhow::Result<Cluster> {
    if port < 2013 || port.checked_add(98 + nodes).is_none() {
        bail!("--port {port}: the HTTP port is 2012 lower and the gRPC port 98 higher; take 2013 to 65000, or 0");
    }
    let node = |index: u16| Node {
        id: i32::from(index) + 1,
        kafka: local(port + index),
        grpc: local(port + 98 + index),
        http: local(port - 2012 + index),
    };
    Ok(cluster((0..nodes).map(node).collect()))
}

/// Free ports, found by binding; all are held until the last one is known.
fn free_addresses(nodes: u16) -> anyhow::Result<Cluster> {
    let mut held = Vec::new();
    let mut free = || -> anyhow::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(local(port))
    };
    let mut list = Vec::new();
    for id in 1..=i32::from(nodes) {
        list.push(Node {
            id,
            kafka: free()?,
            grpc: free()?,
            http: free()?,
        });
    }
    Ok(cluster(list))
}

fn cluster(nodes: Vec<Node>) -> Cluster {
    let bootstrap = nodes
        .iter()
        .map(|node| node.kafka.clone())
        .collect::<Vec<_>>()
        .join(",");
    Cluster { bootstrap, nodes }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn port_of(address: &str) -> anyhow::Result<u16> {
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    port.with_context(|| format!("{address} has no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_first() {
        let cluster = fixed_addresses(3, 9092).unwrap();
        assert_eq!(cluster.bootstrap, "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094");
        let second = &cluster.nodes[1];
        assert_eq!(
            (second.grpc.as_str(), second.http.as_str()),
            ("127.0.0.1:9191", "127.0.0.1:7081")
        );
        assert!(fixed_addresses(3, 80).is_err() && fixed_addresses(3, 65_500).is_err());
    }

    #[test]
    fn a_cluster_keeps_its_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let first = addresses(&folder, 3, 0).unwrap();
        folder.write(&first).unwrap();
        assert_eq!(addresses(&folder, 3, 0).unwrap(), first);
        let error = addresses(&folder, 2, 0).unwrap_err().to_string();
        assert!(error.contains("a cluster of 3 nodes, not 2"), "{error}");
        assert_eq!(addresses(&folder, 3, 9092).unwrap().nodes[0].kafka, "127.0.0.1:9092");
    }
}
