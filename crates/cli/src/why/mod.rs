//! `klamm topic why` and `klamm cluster why`: a node's histories, asked for by HTTP, because Kafka has no request for them.
//!
//! Every node knows the same. All that are named are asked at once, and the one that has taken up most is believed: a
//! node that is cut off tells an old story.

mod ask;

use anyhow::anyhow;
use klamm_broker::node::why::{Answer, Entry, Happened};
use klamm_types::Timestamp;

use crate::Common;
use crate::failure::Failure;
use crate::output;
use ask::ask;
pub use ask::{Places, at_http_port};

const PATH_OF_CLUSTER: &str = "/why/cluster?";
/// Partitions that are named in one line.
const NUMBERS_MAX: usize = 8;

/// Where to ask, and for how much.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only the last so many entries.
    #[arg(long, short)]
    max: Option<usize>,
    #[command(flatten)]
    places: Places,
}

impl Args {
    fn limited(&self, path: String) -> String {
        match self.max {
            Some(max) => format!("{path}&max={max}"),
            None => path,
        }
    }
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
        None => path_of_topic(topic),
    };
    let answer = ask(common, &args.places, &args.limited(path)).await?;
    print(common, &answer, |entries| match place.partition {
        Some(_) => lines(entries),
        None => lines_of_partitions(topic, entries),
    })
}

pub async fn cluster(common: &Common, args: &Args) -> Result<(), Failure> {
    let path = args.limited(PATH_OF_CLUSTER.to_owned());
    let answer = ask(common, &args.places, &path).await?;
    print(common, &answer, lines)
}

/// What the nodes tell of a topic, and of the cluster.
pub async fn both(common: &Common, places: &Places, topic: &str) -> Result<(Answer, Answer), Failure> {
    let of_topic = ask(common, places, &path_of_topic(topic)).await?;
    let of_cluster = ask(common, places, PATH_OF_CLUSTER).await?;
    Ok((of_topic, of_cluster))
}

fn path_of_topic(topic: &str) -> String {
    format!("/why/topic?topic={topic}")
}

/// One line per entry.
fn lines(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{}  {}\n", Timestamp(entry.at_ms).utc(), entry.text);
    entries.iter().map(line).collect()
}

/// One line for all partitions of which the same is to be told.
fn lines_of_partitions(topic: &str, entries: &[Entry]) -> String {
    let line = |(entry, partitions): &(&Entry, Vec<i32>)| {
        let time = Timestamp(entry.at_ms).utc();
        format!("{time}  {topic}/{}  {}\n", numbers(partitions), entry.text)
    };
    by_partitions(entries).iter().map(line).collect()
}

/// Of a topic's entries those that tell the same at one time are one, with its partitions: a fence concerns many at once.
pub fn by_partitions(entries: &[Entry]) -> Vec<(&Entry, Vec<i32>)> {
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
    told
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
}
