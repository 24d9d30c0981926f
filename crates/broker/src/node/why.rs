//! Why things changed, as a node's HTTP port tells it: the histories of its image, in words and in values. Bounded: the
//! newest entries, and how many older ones were left out.

use klamm_metadata::Image;
use klamm_metadata::history::{BrokerEntry, ControllerEntry, PartitionEntry, Reason, render};
use klamm_types::{ErrorCode, NodeId, PartitionId};
use serde::{Deserialize, Serialize};

use super::Node;

/// Entries of one answer.
pub const ANSWER_ENTRIES_MAX: usize = 1000;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub node_id: i32,
    /// The last entry of the metadata log that the node has taken up: of two answers the larger one knows more.
    pub applied_index: u64,
    /// Below level 2 of the metadata nothing is kept.
    pub keeps_history: bool,
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Older entries that are known and not told.
    pub left_out: usize,
}

/// One entry, as a group's history has them: when, in words, in values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at_ms: i64,
    pub text: String,
    pub happened: Happened,
}

/// What happened. Causes and steps are the names of the metadata's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happened {
    PartitionChanged {
        topic: String,
        partition: i32,
        #[serde(flatten)]
        why: Why,
        before: Leadership,
        after: Leadership,
        possible_loss: bool,
        /// Where the partition got a leader and had had none: for how long.
        without_leader_ms: Option<i64>,
    },
    BrokerChanged {
        step: String,
        broker_epoch: i64,
        #[serde(flatten)]
        why: Why,
    },
    /// `broker` is the controller before it, if its end was seen.
    ControllerChanged {
        controller: i32,
        term: u64,
        #[serde(flatten)]
        why: Why,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    pub cause: String,
    pub evidence: String,
    /// The node that it is about.
    pub broker: Option<i32>,
    /// When that node was last known to work, if it worked no more.
    pub last_contact_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("there is no topic {0}")]
    Topic(String),
    #[error("topic {topic} has no partition {partition}")]
    Partition { topic: String, partition: i32 },
    #[error("this node has no metadata yet")]
    NotReady,
}

impl Unanswered {
    pub fn code(&self) -> ErrorCode {
        match self {
            Unanswered::Topic(_) | Unanswered::Partition { .. } => ErrorCode::UnknownTopicOrPartition,
            Unanswered::NotReady => ErrorCode::BrokerNotAvailable,
        }
    }
}

impl Node {
    /// The changes of one partition, or of all of a topic. May take a while for a large topic: not for an async thread.
    pub fn why_topic(&self, topic: &str, partition: Option<i32>, max: usize) -> Result<Answer, Unanswered> {
        let image = self.shown.image();
        let entries = of_topic(&image, topic, partition, max)?;
        Ok(self.answer(&image, entries))
    }

    /// The changes of all brokers' standing, and of the controller.
    pub fn why_cluster(&self, max: usize) -> Result<Answer, Unanswered> {
        let image = self.shown.image();
        if image.applied_index() == 0 {
            return Err(Unanswered::NotReady);
        }
        Ok(self.answer(&image, of_cluster(&image, max)))
    }

    fn answer(&self, image: &Image, newest: Newest) -> Answer {
        let (entries, left_out) = newest.finish();
        Answer {
            node_id: self.id.0,
            applied_index: image.applied_index(),
            keeps_history: image.keeps_history(),
            entries,
            left_out,
        }
    }
}

fn of_topic(image: &Image, name: &str, partition: Option<i32>, max: usize) -> Result<Newest, Unanswered> {
    if image.applied_index() == 0 {
        return Err(Unanswered::NotReady);
    }
    let topic = image.topic_by_name(name);
    let topic = topic.ok_or_else(|| Unanswered::Topic(name.to_owned()))?;
    let asked = match partition {
        Some(partition) if topic.partition(PartitionId(partition)).is_none() => {
            let topic = name.to_owned();
            return Err(Unanswered::Partition { topic, partition });
        }
        Some(partition) => vec![partition],
        None => (0..).take(topic.partitions.len()).collect(),
    };
    let mut newest = Newest::new(max);
    for partition in asked {
        for entry in image.partition_history(topic.id, PartitionId(partition)) {
            newest.push(partition_entry(name, partition, &entry));
        }
    }
    Ok(newest)
}

fn of_cluster(image: &Image, max: usize) -> Newest {
    let mut newest = Newest::new(max);
    for entry in image.controller_history() {
        newest.push(controller_entry(entry));
    }
    for (broker, entry) in image.broker_history() {
        newest.push(broker_entry(broker, entry));
    }
    newest
}

/// Keeps the newest entries of all that come, in any order.
struct Newest {
    max: usize,
    entries: Vec<Entry>,
    left_out: usize,
}

impl Newest {
    fn new(max: usize) -> Newest {
        Newest {
            max: max.min(ANSWER_ENTRIES_MAX),
            entries: Vec::new(),
            left_out: 0,
        }
    }

    fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        if self.entries.len() > 2 * ANSWER_ENTRIES_MAX {
            self.cut();
        }
    }

    /// Entries of one time stay in the order in which they came.
    fn cut(&mut self) {
        self.entries.sort_by_key(|entry| entry.at_ms);
        let over = self.entries.len().saturating_sub(self.max);
        self.entries.drain(..over);
        self.left_out += over;
    }

    fn finish(mut self) -> (Vec<Entry>, usize) {
        self.cut();
        (self.entries, self.left_out)
    }
}

fn partition_entry(topic: &str, partition: i32, entry: &PartitionEntry) -> Entry {
    let leadership = |one: &klamm_metadata::history::Leadership| Leadership {
        leader: one.leader.map(|leader| leader.0),
        leader_epoch: one.leader_epoch.0,
        isr: ids(&one.isr),
        elr: ids(&one.elr),
        last_known_elr: ids(&one.last_known_elr),
    };
    Entry {
        at_ms: entry.reason.at.0,
        text: render::partition(entry),
        happened: Happened::PartitionChanged {
            topic: topic.to_owned(),
            partition,
            why: why(&entry.reason),
            before: leadership(&entry.before),
            after: leadership(&entry.after),
            possible_loss: entry.possible_loss,
            without_leader_ms: entry.without_leader_ms,
        },
    }
}

fn broker_entry(broker: NodeId, entry: &BrokerEntry) -> Entry {
    let mut why = why(&entry.reason);
    why.broker = Some(broker.0);
    Entry {
        at_ms: entry.reason.at.0,
        text: render::broker(broker, entry),
        happened: Happened::BrokerChanged {
            step: word(entry.step.as_str_name(), "BROKER_STEP_"),
            broker_epoch: entry.broker_epoch.0,
            why,
        },
    }
}

fn controller_entry(entry: &ControllerEntry) -> Entry {
    Entry {
        at_ms: entry.reason.at.0,
        text: render::controller(entry),
        happened: Happened::ControllerChanged {
            controller: entry.controller.0,
            term: entry.term,
            why: why(&entry.reason),
        },
    }
}

fn why(reason: &Reason) -> Why {
    Why {
        cause: word(reason.cause.as_str_name(), "CAUSE_"),
        evidence: reason.evidence.clone(),
        broker: reason.broker.map(|broker| broker.0),
        last_contact_ms: reason.last_contact.map(|at| at.0),
    }
}

/// `CAUSE_PROCESS_ENDED` as `process_ended`.
fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: i64) -> Entry {
        let why = Why {
            cause: "goodbye".into(),
            evidence: String::new(),
            broker: None,
            last_contact_ms: None,
        };
        Entry {
            at_ms,
            text: String::new(),
            happened: Happened::ControllerChanged {
                controller: 1,
                term: 1,
                why,
            },
        }
    }

    #[test]
    fn an_answer_holds_the_newest_and_says_what_it_lacks() {
        let mut newest = Newest::new(usize::MAX);
        let count = 5 * ANSWER_ENTRIES_MAX;
        for at_ms in (0..).take(count).map(|number: i64| number * 7 % count as i64) {
            newest.push(entry(at_ms));
        }
        let (entries, left_out) = newest.finish();
        let expected: Vec<i64> = (0..count as i64).skip(4 * ANSWER_ENTRIES_MAX).collect();
        assert_eq!(entries.iter().map(|entry| entry.at_ms).collect::<Vec<_>>(), expected);
        assert_eq!(left_out, 4 * ANSWER_ENTRIES_MAX);
        let mut few = Newest::new(2);
        [3, 1, 2].into_iter().for_each(|at_ms| few.push(entry(at_ms)));
        assert_eq!(few.finish(), (vec![entry(2), entry(3)], 1));
    }

    #[test]
    fn what_is_not_there_is_told() {
        let refused = |image: &Image| of_topic(image, "orders", None, 1).err();
        assert_eq!(refused(&Image::new()), Some(Unanswered::NotReady));
        let mut image = Image::new();
        image.apply_batch(1, 1, &Default::default()).unwrap();
        assert_eq!(refused(&image), Some(Unanswered::Topic("orders".into())));
        assert!(of_cluster(&image, 1).finish().0.is_empty());
    }
}
