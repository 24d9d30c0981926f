//! What a node of ours tells of the changes of a topic: of which partitions records may be lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_MAX: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Answer {
    entries: Vec<Entry>,
}

/// As far as it is of use here.
#[derive(Deserialize)]
struct Entry {
    happened: Happened,
}

#[derive(Deserialize)]
struct Happened {
    partition: Option<i32>,
    possible_loss: Option<bool>,
}

/// Partitions of which the metadata say so.
pub async fn possible_losses(http: &str, topic: &str) -> anyhow::Result<BTreeSet<i32>> {
    let path = format!("/why/topic?topic={topic}");
    let answer = timeout(ANSWER_MAX, get(http, &path)).await;
    read(&answer.with_context(|| format!("no answer to {path}"))??)
}

fn read(answer: &str) -> anyhow::Result<BTreeSet<i32>> {
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(head.contains(" 200 "), "an answer: {head}");
    let answer: Answer = serde_json::from_str(body).context("reading why a topic has changed")?;
    let happened = answer.entries.into_iter().map(|entry| entry.happened);
    let losing = happened.filter(|one| one.possible_loss == Some(true));
    Ok(losing.filter_map(|one| one.partition).collect())
}

/// Only for our own nodes: it speaks HTTP/1.0 and no more.
async fn get(http: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(http).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_partitions_that_lost() {
        let answer = concat!(
            "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n",
            r#"{"entries": [{"at_ms": 1, "text": "", "happened": {"what": "partition_changed", "partition": 2, "possible_loss": true}},"#,
            r#"{"happened": {"partition": 3, "possible_loss": false}}, {"happened": {"what": "broker_changed"}}]}"#
        );
        assert_eq!(read(answer).unwrap(), [2].into());
        assert!(read("HTTP/1.0 404 Not Found\r\n\r\n{}").is_err());
    }
}
