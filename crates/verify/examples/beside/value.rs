//! An answer in the form in which two clusters' answers are compared: ids, times and addresses are replaced as the rules
//! for their fields say, everything else stands as it was sent.

use std::collections::BTreeMap;
use std::fmt;

use klamm_types::Uuid;
use klamm_wire::{ApiKey, Tree};

use crate::cluster::Cluster;
use crate::rules::{self, Rule};
use crate::session::Answer;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Atom(String),
    List(Vec<Value>),
    Fields(Vec<(String, Value)>),
}

/// Two values at one place that are not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub field: String,
    pub kafka: String,
    pub klamm: String,
}

/// What a cluster's ids are called: the same in both clusters.
pub struct Names {
    topics: BTreeMap<Uuid, String>,
    cluster_id: String,
    /// Texts that a cluster has drawn, as member ids.
    called: BTreeMap<String, String>,
}

impl Names {
    pub fn of(cluster: &Cluster, called: BTreeMap<String, String>) -> Names {
        let topics = cluster.topics.values().map(|topic| (topic.id, topic.name.clone()));
        Names {
            topics: topics.collect(),
            cluster_id: cluster.cluster_id.clone(),
            called,
        }
    }

    fn uuid(&self, id: Uuid) -> String {
        match self.topics.get(&id) {
            Some(name) => format!("the id of {name}"),
            // Ids that cases invent begin with zeros and are to come back as they were sent.
            None if id.is_zero() || id.0.starts_with(&[0; 8]) => id.to_string(),
            None => "an id".into(),
        }
    }

    fn text(&self, text: &str) -> String {
        if !text.is_empty() && text == self.cluster_id {
            "the cluster's id".into()
        } else if let Some(name) = self.called.get(text) {
            name.clone()
        } else {
            format!("{text:?}")
        }
    }
}

/// The comparable form of an answer.
pub fn normalise(answer: &Answer, key: ApiKey, names: &Names) -> Value {
    match answer {
        Answer::Message(tree) => value(tree, key.name(), names),
        Answer::Unreadable(why) => Value::Atom(format!("unreadable: {why}")),
        Answer::Closed => Value::Atom("connection closed".into()),
        Answer::Silence => Value::Atom("no answer".into()),
    }
}

fn value(tree: &Tree, path: &str, names: &Names) -> Value {
    let rule = rules::rule(path);
    if let Some(replaced) = rule.and_then(|rule| replaced(tree, rule)) {
        return Value::Atom(replaced.to_owned());
    }
    match tree {
        Tree::Null => Value::Atom("null".into()),
        Tree::Bool(value) => Value::Atom(value.to_string()),
        Tree::Number(number) => Value::Atom(number.to_string()),
        Tree::Uuid(id) => Value::Atom(names.uuid(*id)),
        Tree::Text(text) => Value::Atom(names.text(text)),
        Tree::Bytes(bytes) => Value::Atom(format!("{} bytes {}", bytes.len(), hex(bytes))),
        Tree::List(items) => collection(items, path, names, rule),
        Tree::Fields(fields) => {
            let one = |(name, tree): &(&'static str, Tree)| {
                ((*name).to_owned(), value(tree, &format!("{path}.{name}"), names))
            };
            Value::Fields(fields.iter().map(one).collect())
        }
    }
}

fn collection(items: &[Tree], path: &str, names: &Names, rule: Option<Rule>) -> Value {
    let mut values: Vec<Value> = items.iter().map(|item| value(item, path, names)).collect();
    match rule {
        Some(Rule::Unordered) => values.sort(),
        Some(Rule::Keyed(key)) => {
            let mut fields: Vec<_> = values.into_iter().map(|item| (item.key(key), item)).collect();
            fields.sort();
            return Value::Fields(fields);
        }
        _ => {}
    }
    Value::List(values)
}

/// What stands in place of a value that may differ, if its rule replaces it.
fn replaced(tree: &Tree, rule: Rule) -> Option<&'static str> {
    match (rule, tree) {
        (Rule::Ignored, _) => Some("(not compared)"),
        (Rule::Now, Tree::Number(1_750_000_000_000..=3_500_000_000_000)) => Some("a time of these years"),
        (Rule::Presence, Tree::Text(text)) if !text.is_empty() => Some("a text"),
        (Rule::Sign, Tree::Number(number)) if *number > 0 => Some("a number above 0"),
        (Rule::Sign, Tree::Number(0)) => Some("0"),
        (Rule::Broker, Tree::Number(1..=3)) => Some("a broker"),
        _ => None,
    }
}

impl Value {
    fn key(&self, name: &str) -> String {
        let Value::Fields(fields) = self else {
            return self.to_string();
        };
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map_or_else(String::new, |(_, value)| value.to_string())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Atom(text) => f.write_str(text),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Fields(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every place where the two differ.
pub fn differences(kafka: &Value, klamm: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(kafka, klamm, String::new(), &mut found);
    found
}

fn compare(kafka: &Value, klamm: &Value, field: String, found: &mut Vec<Difference>) {
    match (kafka, klamm) {
        (Value::List(theirs), Value::List(ours)) if theirs.len() == ours.len() => {
            for (at, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                compare(theirs, ours, format!("{field}[{at}]"), found);
            }
        }
        (Value::Fields(theirs), Value::Fields(ours)) => {
            let missing = Value::Atom("(missing)".into());
            let get = |all: &[(String, Value)], name: &str| {
                all.iter()
                    .find(|(field, _)| field == name)
                    .map_or_else(|| missing.clone(), |(_, value)| value.clone())
            };
            for (name, value) in theirs {
                compare(value, &get(ours, name), join(&field, name), found);
            }
            for (name, value) in ours
                .iter()
                .filter(|(name, _)| theirs.iter().all(|(other, _)| other != name))
            {
                compare(&missing, value, join(&field, name), found);
            }
        }
        _ if kafka != klamm => {
            found.push(Difference {
                field,
                kafka: kafka.to_string(),
                klamm: klamm.to_string(),
            });
        }
        _ => {}
    }
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() {
        name.to_owned()
    } else {
        format!("{field}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let topic = Uuid::from_u128(u128::MAX);
        Names {
            topics: BTreeMap::from([(topic, "t".into())]),
            cluster_id: "c1".into(),
            called: BTreeMap::new(),
        }
    }

    fn metadata(id: Uuid, code: i64, isr: &[i64]) -> Answer {
        let partition = Tree::Fields(vec![
            ("leader_id", Tree::Number(2)),
            (
                "isr_nodes",
                Tree::List(isr.iter().map(|node| Tree::Number(*node)).collect()),
            ),
        ]);
        let topic = Tree::Fields(vec![
            ("error_code", Tree::Number(code)),
            ("topic_id", Tree::Uuid(id)),
            ("partitions", Tree::List(vec![partition])),
        ]);
        Answer::Message(Tree::Fields(vec![
            ("cluster_id", Tree::Text("c1".into())),
            ("controller_id", Tree::Number(3)),
            ("topics", Tree::List(vec![topic])),
        ]))
    }

    #[test]
    fn ids_have_names_and_sets_have_no_order() {
        let answer = metadata(Uuid::from_u128(u128::MAX), 0, &[3, 1]);
        let value = normalise(&answer, ApiKey::Metadata, &names()).to_string();
        let expected = "{cluster_id the cluster's id, controller_id a broker, topics [{error_code 0, \
                        topic_id the id of t, partitions [{leader_id 2, isr_nodes [1, 3]}]}]}";
        assert_eq!(value, expected);
    }

    #[test]
    fn every_field_that_differs_is_found() {
        let ours = normalise(&metadata(Uuid::from_u128(5), 3, &[1]), ApiKey::Metadata, &names());
        let theirs = normalise(&metadata(Uuid::ZERO, 0, &[1, 2]), ApiKey::Metadata, &names());
        let found: Vec<String> = differences(&theirs, &ours)
            .into_iter()
            .map(|found| found.field)
            .collect();
        assert_eq!(
            found,
            [
                "topics[0].error_code",
                "topics[0].topic_id",
                "topics[0].partitions[0].isr_nodes"
            ]
        );
        assert_eq!(differences(&ours, &ours), []);
        let closed = normalise(&Answer::Closed, ApiKey::Metadata, &names());
        assert_eq!(differences(&closed, &ours)[0].kafka, "connection closed");
    }
}
