//! A question to the nodes' HTTP ports: where to ask, and whom to believe.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use klamm_broker::node::why::Answer;
use serde::Deserialize;

use crate::Common;
use crate::dev::Folder;
use crate::failure::Failure;
use crate::http;

/// The HTTP port of a node that was given no other.
const HTTP_PORT: u16 = 7080;
/// Where `klamm dev` keeps its cluster unless told otherwise.
const DEV_FOLDER: &str = "klamm-data";
/// How long others may take after one node has answered.
const SECOND_ANSWER_MAX: Duration = Duration::from_millis(300);

/// Where nodes answer by HTTP.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// HTTP addresses of nodes; any will do [default: those of the `klamm dev` cluster in DIR if --bootstrap names one of its nodes, else port 7080 of the hosts in --bootstrap].
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "folder")]
    http: Option<String>,
    /// The folder of a `klamm dev` cluster that is meant [default: klamm-data].
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Places {
    /// Whether somebody said where, instead of leaving it to a guess.
    pub fn are_given(&self) -> bool {
        self.http.is_some() || self.folder.is_some()
    }

    /// Whom to ask.
    pub fn addresses(&self, common: &Common) -> Result<Vec<String>, Failure> {
        Ok(match self.known(common)? {
            Some(addresses) => addresses,
            None => {
                let bootstrap = listed(&common.bootstrap);
                bootstrap.iter().map(|address| at_default_port(address)).collect()
            }
        })
    }

    /// The addresses that somebody gave, or that stand in the folder of a `klamm dev` cluster.
    pub fn known(&self, common: &Common) -> Result<Option<Vec<String>>, Failure> {
        if let Some(list) = &self.http {
            return Ok(Some(listed(list)));
        }
        if let Some(folder) = &self.folder {
            let cluster = Folder::new(folder).read()?;
            let cluster =
                cluster.with_context(|| format!("there is no `klamm dev` cluster in {}", folder.display()))?;
            return Ok(Some(cluster.nodes.into_iter().map(|node| node.http).collect()));
        }
        // Of a folder that nobody named, only what is certainly meant is believed.
        let cluster = Folder::new(Path::new(DEV_FOLDER)).read().ok().flatten();
        let bootstrap = listed(&common.bootstrap);
        let meant = cluster.filter(|cluster| {
            let ours = |address: &String| cluster.nodes.iter().any(|node| same_address(&node.kafka, address));
            bootstrap.iter().any(ours)
        });
        Ok(meant.map(|cluster| cluster.nodes.into_iter().map(|node| node.http).collect()))
    }
}

fn listed(list: &str) -> Vec<String> {
    let addresses = list.split(',').map(str::trim).filter(|address| !address.is_empty());
    addresses.map(str::to_owned).collect()
}

/// The answer of the node that knows most.
pub async fn ask(common: &Common, places: &Places, path: &str) -> Result<Answer, Failure> {
    let addresses = places.addresses(common)?;
    let mut asked: FuturesUnordered<_> = addresses.iter().map(|address| one(address, path)).collect();
    let mut best: Option<Answer> = None;
    let mut failure: Option<Failure> = None;
    loop {
        let next = match &best {
            None => asked.next().await,
            Some(_) => tokio::time::timeout(SECOND_ANSWER_MAX, asked.next())
                .await
                .ok()
                .flatten(),
        };
        match next {
            Some(Ok(answer))
                if best
                    .as_ref()
                    .is_none_or(|best| best.applied_index < answer.applied_index) =>
            {
                best = Some(answer);
            }
            Some(Ok(_)) => {}
            // What a node says counts more than that another says nothing.
            Some(Err(error)) if failure.as_ref().is_none_or(|known| known.code == Failure::UNREACHABLE) => {
                failure = Some(error);
            }
            Some(Err(_)) => {}
            None => break,
        }
    }
    match (best, failure) {
        (Some(answer), _) => Ok(answer),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(Failure::usage("no address to ask: name a node with --http HOST:PORT")),
    }
}

async fn one(address: &str, path: &str) -> Result<Answer, Failure> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        message: String,
    }
    let (status, body) = http::ask(address, path).await.map_err(|error| {
        let doing = "asking a node by HTTP (--http HOST:PORT names another)";
        Failure::new(Failure::UNREACHABLE, error.context(doing))
    })?;
    if status == 200 {
        let answer = serde_json::from_slice(&body).with_context(|| format!("reading the answer of {address}"));
        return Ok(answer?);
    }
    let code = if status == 503 {
        Failure::UNREACHABLE
    } else {
        Failure::REFUSED
    };
    let error = match serde_json::from_slice(&body) {
        Ok(Refusal { error, message }) => anyhow!("{message} ({error})"),
        Err(_) => anyhow!("{address}{path} answered {status}"),
    };
    Err(Failure::new(code, error))
}

fn same_address(one: &str, other: &str) -> bool {
    let plain = |address: &str| address.replace("localhost:", "127.0.0.1:");
    plain(one) == plain(other)
}

/// The same host, at the port where nodes answer by HTTP.
fn at_default_port(address: &str) -> String {
    at_http_port(address.rsplit_once(':').map_or(address, |(host, _)| host))
}

/// Where a node on this host answers by HTTP unless it was told otherwise.
pub fn at_http_port(host: &str) -> String {
    format!("{host}:{HTTP_PORT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_asked_where_nodes_answer() {
        assert_eq!(at_default_port("a.example:9092"), "a.example:7080");
        assert_eq!(at_default_port("[::1]:9092"), "[::1]:7080");
        assert!(same_address("127.0.0.1:9092", "localhost:9092"));
        assert!(!same_address("127.0.0.1:9092", "localhost:9093"));
    }
}
