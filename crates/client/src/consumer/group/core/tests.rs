//! The group core by hand: events in, effects as lines of text out. `simulation` lets many members loose.

mod classic;
mod commits;
mod consumer;
mod losing;
mod simulation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, LeaderEpoch, Moment, NodeId, Offset, PartitionId, TopicId, Uuid};

use super::*;
use crate::consumer::group::assignor::Assignor;
use crate::consumer::group::listener::CommittedOffset;
use crate::consumer::group::protocol::{read_assignment, read_subscription};
use crate::error::RequestError;
use crate::metadata::{Broker, Partition, Topic};

fn config(protocol: GroupProtocol) -> CoreConfig {
    CoreConfig {
        protocol,
        instance_id: None,
        member_id: "me".to_owned(),
        assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
        remote_assignor: None,
        heartbeat_interval: Duration::from_secs(3),
        max_poll_interval: Duration::from_secs(300),
        auto_commit_interval: None,
        rack: None,
        retry_backoff: Duration::from_millis(20),
        api_timeout: Duration::from_secs(60),
        metadata_max_age: Duration::from_secs(300),
    }
}

/// Brokers 1 to 3, and these topics.
fn picture(topics: &[(&str, i32)]) -> Arc<Cluster> {
    let broker = |id: i32| Broker {
        id: NodeId(id),
        host: "h".to_owned(),
        port: 1,
        rack: None,
    };
    let partition = |number: i32| Partition {
        id: PartitionId(number),
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(0),
        replicas: vec![],
        isr: vec![],
        offline_replicas: vec![],
        error: None,
    };
    let topic = |&(name, count): &(&str, i32)| {
        let topic = Topic {
            name: Arc::from(name),
            id: topic_id(name),
            internal: false,
            error: None,
            partitions: (0..count).map(partition).collect(),
        };
        (Arc::from(name), Arc::new(topic))
    };
    Arc::new(Cluster {
        brokers: (1..=3).map(|id| (NodeId(id), broker(id))).collect(),
        topics: topics.iter().map(topic).collect(),
        ..Cluster::default()
    })
}

fn topic_id(name: &str) -> TopicId {
    TopicId(Uuid::from_u128(u128::from(name.as_bytes()[0])))
}

fn facts(topics: &[(&str, i32)]) -> Answer {
    let fact = |&(name, count): &(&str, i32)| TopicFacts {
        name: Arc::from(name),
        id: topic_id(name),
        internal: name.starts_with("__"),
        partitions: Some(count),
    };
    Answer::Topics(topics.iter().map(fact).collect())
}

fn keys(list: &[(&str, i32)]) -> BTreeSet<TopicPartition> {
    list.iter()
        .map(|&(topic, number)| TopicPartition::new(topic, number))
        .collect()
}

fn offsets(list: &[(&str, i32, i64)]) -> BTreeMap<TopicPartition, CommittedOffset> {
    let one = |&(topic, number, offset): &(&str, i32, i64)| {
        (TopicPartition::new(topic, number), CommittedOffset::new(Offset(offset)))
    };
    list.iter().map(one).collect()
}

fn lost() -> Result<Answer, Arc<RequestError>> {
    Err(Arc::new(RequestError::UnknownBroker { node: 1 }))
}

/// One core with a clock.
struct Bench {
    core: Core,
    now: Moment,
    /// Requests that nobody has answered.
    open: Vec<Order>,
    /// What else the core said.
    happened: Vec<Effect>,
    wake: Option<Moment>,
}

impl Bench {
    fn new(config: CoreConfig) -> Bench {
        Bench {
            core: Core::new(config, picture(&[("t", 2)])),
            now: Moment(1_000_000),
            open: Vec::new(),
            happened: Vec::new(),
            wake: None,
        }
    }

    /// Subscribed to `t`, and polling.
    fn subscribed(config: CoreConfig) -> Bench {
        let mut bench = Bench::new(config);
        bench.core.poll_started(bench.now);
        bench.step(Event::Subscribe(topics(&["t"])));
        bench
    }

    /// What the core does upon this, a line each; what is only housekeeping is left out.
    fn step(&mut self, event: Event) -> Vec<String> {
        let mut effects = Vec::new();
        self.wake = self.core.step(self.now, event, &mut effects);
        self.core.validate();
        let mut lines = Vec::new();
        for effect in effects {
            lines.extend(show(&effect));
            match effect {
                Effect::Send(order) => self.open.push(order),
                other => self.happened.push(other),
            }
        }
        lines
    }

    fn later(&mut self, by: Duration) -> Vec<String> {
        self.now = self.now + by;
        self.step(Event::Tick)
    }

    /// Answers the oldest open request of this kind.
    fn answer(&mut self, call: &str, answer: Answer) -> Vec<String> {
        self.outcome(call, Ok(answer))
    }

    fn outcome(&mut self, call: &str, outcome: Result<Answer, Arc<RequestError>>) -> Vec<String> {
        let index = self.open.iter().position(|order| name(&order.call) == call);
        let order = self
            .open
            .remove(index.unwrap_or_else(|| panic!("no {call} in {:?}", self.open)));
        self.step(Event::Answered { id: order.id, outcome })
    }

    fn coordinator(&mut self, node: i32) -> Vec<String> {
        let answer = Answer::Coordinator {
            code: ErrorCode::None,
            node: NodeId(node),
            message: String::new(),
        };
        self.answer("find", answer)
    }

    /// The program takes the next turn.
    fn turn(&mut self) -> (String, Vec<String>) {
        let turn = self.core.turn().expect("a turn").clone();
        let kind = match turn.kind {
            TurnKind::Revoke => "revoke",
            TurnKind::Lose => "lose",
            TurnKind::Assign => "assign",
        };
        let shown = format!("{kind} {}", list(&turn.partitions));
        let begun = BTreeSet::new();
        (
            shown.trim().to_owned(),
            self.step(Event::TurnDone { turn: turn.id, begun }),
        )
    }
}

fn topics(names: &[&str]) -> Subscription {
    Subscription::Topics(names.iter().map(|&name| Arc::from(name)).collect())
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::FindCoordinator => "find",
        Call::Topics(_) => "topics",
        Call::Join(_) => "join",
        Call::Sync(_) => "sync",
        Call::Heartbeat(_) => "heartbeat",
        Call::Leave { .. } => "leave",
        Call::ConsumerHeartbeat(_) => "beat",
        Call::Commit { .. } => "commit",
        Call::Committed { .. } => "committed",
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

fn who(identity: &Identity) -> String {
    let instance = identity
        .instance_id
        .as_ref()
        .map(|id| format!("/{id}"))
        .unwrap_or_default();
    format!("{}@{}{instance}", identity.member_id, identity.generation)
}

fn show(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Send(order) => show_call(&order.call),
        Effect::Begin(parts) => {
            let parts = parts.iter().map(|(key, begin)| match begin {
                Begin::At { offset, .. } => format!("{key}:{offset}"),
                Begin::Nothing => format!("{key}:none"),
                Begin::Refused(code) => format!("{key}:{}", code.name()),
            });
            format!("begin {}", list(parts))
        }
        Effect::CommitProcessed => "commit processed".to_owned(),
        Effect::Settle { waiter, outcome } => match outcome {
            Settled::Committed(Ok(())) => format!("{waiter} stored"),
            Settled::Committed(Err(failure)) => format!("{waiter} {failure}"),
            Settled::Offsets(Ok(found)) => {
                let found = found
                    .iter()
                    .map(|(key, committed)| format!("{key}:{}", committed.offset));
                format!("{waiter} is told {}", list(found))
            }
            Settled::Offsets(Err(failure)) => format!("{waiter} {failure}"),
            Settled::Left => format!("{waiter} left"),
        },
        Effect::Want(_) | Effect::Refresh => return None,
    })
}

fn show_call(call: &Call) -> String {
    match call {
        Call::FindCoordinator => "find".to_owned(),
        Call::Topics(TopicQuery::All) => "topics all".to_owned(),
        Call::Topics(TopicQuery::Names(names)) => format!("topics {}", list(names)),
        Call::Topics(TopicQuery::Ids(ids)) => format!("topics by id, {}", ids.len()),
        Call::Join(call) => {
            let facts = read_subscription("", None, &call.protocols[0].1).unwrap();
            let names = call.protocols.iter().map(|(name, _)| *name);
            let owned = if facts.owned.is_empty() {
                String::new()
            } else {
                format!(" owns {}", list(&facts.owned))
            };
            format!(
                "join {} [{}] {}{owned}",
                who(&call.identity),
                list(names),
                list(&facts.topics)
            )
        }
        Call::Sync(call) => {
            let given = call
                .assignments
                .iter()
                .map(|(member, bytes)| format!(" {member}=[{}]", list(read_assignment(bytes).unwrap())));
            format!(
                "sync {} {}{}",
                who(&call.identity),
                call.protocol,
                given.collect::<String>()
            )
        }
        Call::Heartbeat(identity) => format!("heartbeat {}", who(identity)),
        Call::Leave { identity, .. } => format!("leave {}", who(identity)),
        Call::ConsumerHeartbeat(call) => {
            let mut line = format!("beat {}", who(&call.identity));
            if let Some(told) = &call.subscription {
                line += &format!(" wants {}{}", list(&told.topics), told.regex);
            }
            if let Some(owned) = &call.owned {
                line += &format!(" owns {}", list(owned.iter().map(|(_, number)| number)));
            }
            line.trim_end().to_owned()
        }
        Call::Commit { identity, offsets } => {
            let offsets = offsets
                .iter()
                .map(|(key, committed)| format!("{key}:{}", committed.offset));
            format!("commit {} {}", who(identity), list(offsets))
        }
        Call::Committed { identity, partitions } => format!("committed {} {}", who(identity), list(partitions)),
    }
}
