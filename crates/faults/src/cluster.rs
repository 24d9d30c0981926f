//! What a fault is run against: processes of our own, or a cluster that others started and whose nodes the user's commands
//! break and mend, such as containers.

use std::path::PathBuf;

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::fleet::Fleet;
use crate::peer::sh;

/// A cluster under test.
pub enum Cluster {
    Own(Fleet),
    Foreign(Foreign),
}

/// How to reach and to break what others started: three nodes, all of them brokers and controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// `HOST:PORT,…`, for clients.
    pub bootstrap: String,
    /// Sends the signal `$SIGNAL` (KILL, TERM, STOP, CONT) to node `$NODE`; run by sh.
    pub signal: String,
    /// Starts node `$NODE`, once it has ended; run by sh.
    pub start: String,
}

impl Cluster {
    pub fn bootstrap(&self) -> String {
        match self {
            Cluster::Own(fleet) => fleet.bootstrap(),
            Cluster::Foreign(foreign) => foreign.bootstrap.clone(),
        }
    }

    /// Sends a signal to all these nodes, as much at once as can be.
    pub async fn signal(&self, nodes: &[i32], signal: Signal) -> anyhow::Result<()> {
        match self {
            Cluster::Own(fleet) => fleet.signal(nodes, signal),
            Cluster::Foreign(foreign) => {
                let name = name_of(signal)?;
                for node in nodes {
                    sh(&foreign.signal, [("NODE", node.to_string().as_str()), ("SIGNAL", name)]).await?;
                }
                Ok(())
            }
        }
    }

    /// Waits until nodes that were told to end have ended. Of those of others, starting waits for it.
    pub async fn ended(&mut self, nodes: &[i32]) -> anyhow::Result<()> {
        if let Cluster::Own(fleet) = self {
            for &node in nodes {
                fleet.ended(node).await?;
            }
        }
        Ok(())
    }

    /// Starts nodes that have ended, and waits until they serve.
    pub async fn start(&mut self, nodes: &[i32]) -> anyhow::Result<()> {
        match self {
            Cluster::Own(fleet) => fleet.start(nodes).await,
            Cluster::Foreign(foreign) => {
                for node in nodes {
                    sh(&foreign.start, [("NODE", &node.to_string())]).await?;
                }
                Ok(())
            }
        }
    }

    /// A node's data directory.
    pub fn data(&self, node: i32) -> anyhow::Result<PathBuf> {
        Ok(self.own()?.data(node))
    }

    /// Where a node's controller is reached.
    pub fn grpc(&self, node: i32) -> anyhow::Result<String> {
        self.own()?.grpc(node)
    }

    /// Where a node serves HTTP.
    pub fn http(&self, node: i32) -> anyhow::Result<String> {
        self.own()?.http(node)
    }

    fn own(&self) -> anyhow::Result<&Fleet> {
        match self {
            Cluster::Own(fleet) => Ok(fleet),
            Cluster::Foreign(_) => bail!("this fault needs nodes that were started for it"),
        }
    }
}

fn name_of(signal: Signal) -> anyhow::Result<&'static str> {
    let names = [
        (Signal::KILL, "KILL"),
        (Signal::TERM, "TERM"),
        (Signal::STOP, "STOP"),
        (Signal::CONT, "CONT"),
    ];
    let found = names.into_iter().find(|(known, _)| *known == signal);
    Ok(found.context("no fault sends this signal")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(signal: &str, start: &str) -> Cluster {
        Cluster::Foreign(Foreign {
            bootstrap: "localhost:1".to_owned(),
            signal: signal.to_owned(),
            start: start.to_owned(),
        })
    }

    #[tokio::test]
    async fn commands_are_told_whom_to_hit_and_how() {
        let mut cluster = foreign(r#"test "$NODE $SIGNAL" = "2 KILL""#, r#"test "$NODE" = 2"#);
        cluster.signal(&[2], Signal::KILL).await.unwrap();
        cluster.start(&[2]).await.unwrap();
        assert!(cluster.signal(&[2], Signal::TERM).await.is_err());
        assert!(cluster.start(&[2, 3]).await.is_err());
        assert!(cluster.data(1).is_err());
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let cluster = foreign("echo no such container >&2; exit 1", "");
        let error = cluster.signal(&[1], Signal::STOP).await.unwrap_err().to_string();
        assert!(error.contains("no such container"), "{error}");
    }
}
