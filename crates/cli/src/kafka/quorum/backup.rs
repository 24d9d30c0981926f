//! `klamm quorum backup`: all metadata in one file, from which `klamm quorum recover --from` builds a new quorum.
//!
//! Of a running cluster every node that is named is asked by HTTP, and the one that knows most is believed; a node that
//! is cut off tells an old story. What is written is read again and checked.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use futures_util::future::join_all;
use klamm_controller::backup::{self, Backup};
use serde_json::json;

use crate::Common;
use crate::failure::Failure;
use crate::why::Places;
use crate::{http, output};

#[derive(clap::Args)]
pub struct Args {
    /// The file to write; one that exists is never replaced.
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    to: Option<PathBuf>,
    /// Only read a backup and say what is in it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "data_dir", "http", "folder"])]
    check: Option<PathBuf>,
    /// Take it from the data directory of a node that is not running.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["http", "folder"])]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

pub async fn run(common: &Common, args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.check {
        let (backup, bytes) = read(path)?;
        return Ok(show(common, path, &backup, bytes.len())?);
    }
    let path = args
        .to
        .as_ref()
        .ok_or_else(|| Failure::usage("no file is named: --to FILE"))?;
    if path.exists() {
        return Err(Failure::usage(format!("{} exists already", path.display())));
    }
    let taken = match &args.data_dir {
        Some(directory) => {
            let folder = directory.join("quorum");
            let taken = backup::of_store(&folder);
            let taken = taken.with_context(|| format!("reading the metadata in {}", folder.display()))?;
            taken.to_vec()
        }
        None => newest(answers(common, &args.places).await?)?,
    };
    backup::write(path, &taken).with_context(|| format!("writing {}", path.display()))?;
    let (backup, bytes) = read(path)?;
    if bytes != taken {
        return Err(Failure::from(anyhow!(
            "{} does not hold what was written",
            path.display()
        )));
    }
    Ok(show(common, path, &backup, bytes.len())?)
}

/// What each node says that answers at all.
async fn answers(common: &Common, places: &Places) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let asked = places.addresses(common)?.into_iter().map(|address| async move {
        let answer = http::get(&address, "/metadata/backup").await;
        answer.map(|body| (address, body))
    });
    let (mut answers, mut failure) = (Vec::new(), None);
    for answer in join_all(asked).await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if answers.is_empty() => {
            let doing = "asking a node by HTTP (--http HOST:PORT names another)";
            Err(Failure::new(Failure::UNREACHABLE, error.context(doing)))
        }
        _ => Ok(answers),
    }
}

/// The answer that goes furthest. All must be of one cluster, and whole.
fn newest(answers: Vec<(String, Vec<u8>)>) -> anyhow::Result<Vec<u8>> {
    let mut best: Option<(Backup, String, Vec<u8>)> = None;
    for (address, bytes) in answers {
        let backup = Backup::decode(&bytes).with_context(|| format!("reading the answer of {address}"))?;
        if let Some((known, first, _)) = &best {
            let same = known.cluster_id == backup.cluster_id;
            let (one, other) = (known.cluster_id, backup.cluster_id);
            ensure!(
                same,
                "{first} belongs to cluster {one}, and {address} to cluster {other}"
            );
            if known.last_entry() >= backup.last_entry() {
                continue;
            }
        }
        best = Some((backup, address, bytes));
    }
    let (_, _, bytes) = best.context("no node was asked")?;
    Ok(bytes)
}

fn read(path: &Path) -> anyhow::Result<(Backup, Vec<u8>)> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let backup = Backup::decode(&bytes).with_context(|| format!("{} is no backup of the metadata", path.display()))?;
    Ok((backup, bytes))
}

fn show(common: &Common, path: &Path, backup: &Backup, bytes: usize) -> anyhow::Result<()> {
    let (image, (term, index)) = (backup.image(), backup.last_entry());
    let (brokers, topics) = (image.brokers().len(), image.topics().len());
    let partitions: usize = image.topics().values().map(|topic| topic.partitions.len()).sum();
    let value = json!({
        "file": path,
        "bytes": bytes,
        "cluster_id": backup.cluster_id.to_string(),
        "taken_at_ms": backup.taken_at.0,
        "last_entry": index,
        "term": term,
        "brokers": brokers,
        "topics": topics,
        "partitions": partitions,
    });
    output::print(common.output, &value, |_| {
        format!(
            "{}: {bytes} bytes, whole\ncluster {}, taken at {}, up to entry {index}\n\
             {brokers} brokers, {topics} topics with {partitions} partitions",
            path.display(),
            backup.cluster_id,
            backup.taken_at.utc()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_named() {
        let error = newest(vec![("a.example:7080".into(), b"torn".to_vec())]).unwrap_err();
        assert_eq!(error.to_string(), "reading the answer of a.example:7080");
        assert_eq!(newest(Vec::new()).unwrap_err().to_string(), "no node was asked");
    }
}
