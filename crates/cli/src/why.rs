//! `klamm topic why` and `klamm cluster why`: a node's histories, asked for by HTTP, because Kafka has no request for them.
//!
//! Every node knows the same. All that are named are asked at once, and the one that has taken up most is believed: a
//! node that is cut off tells an old story.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use klamm_broker::node::why::{Answer, Entry, Happened};
use klamm_types::Timestamp;
use serde::Deserialize;

use crate::Common;
use crate::dev::Folder;
use crate::failure::Failure;
use crate::http;
use crate::output;

/// The HTTP port of a node that was given no other.
const HTTP_PORT: u16 = 7080;
/// Where `klamm dev` keeps its cluster unless told otherwise.
const DEV_FOLDER: &str = "klamm-data";
/// How long others may take after one node has answered.
const SECOND_ANSWER_MAX: Duration = Duration::from_millis(300);

/// Partitions that are named in one line.
const NUMBERS_MAX: usize = 8;

/// Where to ask, and for how much.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only the last so many entries.
    #[arg(long, short)]
    max: Option<usize>,
    /// HTTP addresses of nodes; any will do [default: those of the `klamm dev` cluster in DIR if --bootstrap names one of its nodes, else port 7080 of the hosts in --bootstrap].
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "folder")]
    http: Option<String>,
    /// The folder of a `klamm dev` cluster that is meant [default: klamm-data].
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// `NAME` or `NAME/PARTITION`; a name has no slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    topic: String,
    partition: Option<i32>,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (topic, partition) = match text.split_once('/') {
            None => (text, None),
            Some((topic, number)) => {
                let number: u16 = number.parse().map_err(|_| format!("{number} is no partition"))?;
                (topic, Some(i32::from(number)))
            }
        };
        klamm_types::validate_topic_name(topic).map_err(|error| error.to_string())?;
        let topic = topic.to_owned();
        Ok(Place { topic, partition })
    }
}

pub async fn topic(common: &Common, place: &Place, args: &Args) -> Result<(), Failure> {
    let topic = &place.topic;
    let path = match place.partition {
        Some(partition) => format!("/why/partition?topic={topic}&partition={partition}"),
        None => format!("/why/topic?topic={topic}"),
    };
    let answer = ask(common, args, &path).await?;
    print(common, &answer, |entries| match place.partition {
        Some(_) => lines(entries),
        None => lines_of_partitions(topic, entries),
    })
}

pub async fn cluster(common: &Common, args: &Args) -> Result<(), Failure> {
    let answer = ask(common, args, "/why/cluster?").await?;
    print(common, &answer, lines)
}

/// One line per entry.
fn lines(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{}  {}\n", Timestamp(entry.at_ms).utc(), entry.text);
    entries.iter().map(line).collect()
}

/// One line for all partitions of which the same is to be told: a fence concerns many at once.
fn lines_of_partitions(topic: &str, entries: &[Entry]) -> String {
    let mut told: Vec<(&Entry, Vec<i32>)> = Vec::new();
    for entry in entries {
        let Happened::PartitionChanged { partition, .. } = entry.happened else {
            continue;
        };
        let of_this_time = told
            .iter_mut()
            .rev()
            .take_while(|(other, _)| other.at_ms == entry.at_ms);
        match of_this_time.into_iter().find(|(other, _)| other.text == entry.text) {
            Some((_, partitions)) => partitions.push(partition),
            None => told.push((entry, vec![partition])),
        }
    }
    let line = |(entry, partitions): &(&Entry, Vec<i32>)| {
        let time = Timestamp(entry.at_ms).utc();
        format!("{time}  {topic}/{}  {}\n", numbers(partitions), entry.text)
    };
    told.iter().map(line).collect()
}

/// The first few, and how many there are.
fn numbers(partitions: &[i32]) -> String {
    let shown = partitions.iter().take(NUMBERS_MAX).map(ToString::to_string);
    let shown = shown.collect::<Vec<_>>().join(",");
    match partitions.len() {
        count if count > NUMBERS_MAX => format!("{shown},… ({count} partitions)"),
        _ => shown,
    }
}

fn print(common: &Common, answer: &Answer, to_text: impl FnOnce(&[Entry]) -> String) -> Result<(), Failure> {
    if !answer.keeps_history {
        let text = "this cluster keeps no history: it runs at klamm.metadata.level 1, and histories begin with level 2";
        return Err(Failure::new(Failure::REFUSED, anyhow!(text)));
    }
    output::print(common.output, &answer.entries, |entries| {
        if entries.is_empty() {
            return "nothing has changed since it was created".to_owned();
        }
        let older = match answer.left_out {
            0 => String::new(),
            left_out => format!("({left_out} older entries are not shown)\n"),
        };
        format!("{older}{}", to_text(entries))
    })?;
    Ok(())
}

/// The answer of the node that knows most.
async fn ask(common: &Common, args: &Args, path: &str) -> Result<Answer, Failure> {
    let path = match args.max {
        Some(max) => format!("{path}&max={max}"),
        None => path.to_owned(),
    };
    let addresses = addresses(common, args)?;
    let mut asked: FuturesUnordered<_> = addresses.iter().map(|address| one(address, &path)).collect();
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

fn addresses(common: &Common, args: &Args) -> Result<Vec<String>, Failure> {
    let listed = |list: &str| {
        let addresses = list.split(',').map(str::trim).filter(|address| !address.is_empty());
        addresses.map(str::to_owned).collect::<Vec<String>>()
    };
    if let Some(list) = &args.http {
        return Ok(listed(list));
    }
    let bootstrap = listed(&common.bootstrap);
    if let Some(folder) = &args.folder {
        let cluster = Folder::new(folder).read()?;
        let cluster = cluster.with_context(|| format!("there is no `klamm dev` cluster in {}", folder.display()))?;
        return Ok(cluster.nodes.into_iter().map(|node| node.http).collect());
    }
    // Of a folder that nobody named, only what is certainly meant is believed.
    let cluster = Folder::new(Path::new(DEV_FOLDER)).read().ok().flatten();
    let meant = cluster.filter(|cluster| {
        let ours = |address: &String| cluster.nodes.iter().any(|node| same_address(&node.kafka, address));
        bootstrap.iter().any(ours)
    });
    Ok(match meant {
        Some(cluster) => cluster.nodes.into_iter().map(|node| node.http).collect(),
        None => bootstrap.iter().map(|address| at_default_port(address)).collect(),
    })
}

fn same_address(one: &str, other: &str) -> bool {
    let plain = |address: &str| address.replace("localhost:", "127.0.0.1:");
    plain(one) == plain(other)
}

/// The same host, at the port where nodes answer by HTTP.
fn at_default_port(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    format!("{host}:{HTTP_PORT}")
}

#[cfg(test)]
mod tests {
    use klamm_broker::node::why::{Leadership, Why};

    use super::*;

    #[test]
    fn a_place_is_a_topic_or_a_partition() {
        let place = |topic: &str, partition| {
            let topic = topic.to_owned();
            Ok(Place { topic, partition })
        };
        assert_eq!("orders".parse(), place("orders", None));
        assert_eq!("orders/12".parse(), place("orders", Some(12)));
        for wrong in ["", "/1", "orders/", "orders/-1", "orders/x", "a b", "a/1/2"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_the_same_of_many_partitions_is_told_once() {
        let entry = |at_ms, partition, text: &str| {
            let leadership = || Leadership {
                leader: None,
                leader_epoch: 0,
                isr: Vec::new(),
                elr: Vec::new(),
                last_known_elr: Vec::new(),
            };
            let why = Why {
                cause: "process_ended".into(),
                evidence: String::new(),
                broker: None,
                last_contact_ms: None,
            };
            let happened = Happened::PartitionChanged {
                topic: "t".into(),
                partition,
                why,
                before: leadership(),
                after: leadership(),
                possible_loss: false,
                without_leader_ms: None,
            };
            let text = text.into();
            Entry { at_ms, text, happened }
        };
        let mut entries = vec![entry(1, 0, "a"), entry(1, 1, "b"), entry(1, 2, "a")];
        entries.extend((0..10).map(|partition| entry(2, partition, "a")));
        let time = |ms| Timestamp(ms).utc();
        assert_eq!(
            lines_of_partitions("t", &entries),
            format!(
                "{}  t/0,2  a\n{0}  t/1  b\n{}  t/0,1,2,3,4,5,6,7,… (10 partitions)  a\n",
                time(1),
                time(2)
            )
        );
    }

    #[test]
    fn hosts_are_asked_where_nodes_answer() {
        assert_eq!(at_default_port("a.example:9092"), "a.example:7080");
        assert_eq!(at_default_port("[::1]:9092"), "[::1]:7080");
        assert!(same_address("127.0.0.1:9092", "localhost:9092"));
        assert!(!same_address("127.0.0.1:9092", "localhost:9093"));
    }
}
