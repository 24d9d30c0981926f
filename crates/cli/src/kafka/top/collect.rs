//! One look at a cluster: asks everybody at once and waits for nobody long. What is not answered becomes a trouble
//! that is told, and the rest goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::{StreamExt, stream};
use klamm_client::admin::{
    Admin, AdminError, ClusterBroker, ClusterDescription, ConfigResource, GroupListing, OffsetSpec, TopicDescription,
};
use klamm_client::{Client, TopicPartition};
use klamm_types::NodeId;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::sample::{Broker, Disk, Group, Partition, Sample, State, Topic};
use super::scrape::Figures;
use crate::http;
use crate::why::at_http_port;

/// No part of a look takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// A dial, and an answer by HTTP: they are only asked for what nobody else knows.
const ASIDE_MAX: Duration = Duration::from_millis(1500);
/// Groups whose members and offsets are asked for at each look.
const GROUPS_MAX: usize = 200;
const GROUPS_AT_ONCE: usize = 16;
/// Topics whose `min.insync.replicas` is asked for at each look, and remembered.
const CONFIGS_MAX: usize = 20;

/// Asks, and remembers what need not be asked again.
pub struct Collector {
    client: Client,
    admin: Admin,
    started: Instant,
    /// HTTP addresses that somebody named; else they are guessed from the brokers' hosts.
    http: Option<Vec<String>>,
    /// Which node answers at an HTTP address, until it does not.
    nodes: BTreeMap<String, i32>,
    min_in_sync: BTreeMap<String, usize>,
}

/// What one broker answers.
#[derive(Default)]
struct Answers {
    reached: bool,
    ends: BTreeMap<TopicPartition, i64>,
    disk: Option<Disk>,
    sizes: BTreeMap<TopicPartition, u64>,
    groups: Vec<GroupListing>,
    troubles: Vec<String>,
}

impl Collector {
    pub fn new(client: Client, http: Option<Vec<String>>) -> Collector {
        Collector {
            admin: client.admin(),
            client,
            started: Instant::now(),
            http,
            nodes: BTreeMap::new(),
            min_in_sync: BTreeMap::new(),
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// No broker tells which brokers and topics there are.
    pub async fn look(&mut self) -> Result<Sample, AdminError> {
        // Addresses may have changed since the last look.
        self.client.refresh();
        let (cluster, quorum) = join(self.admin.describe_cluster(), answer(self.admin.describe_quorum())).await;
        let (cluster, topics) = (cluster?, self.admin.describe_all_topics().await?);
        let figures = self.figures(&cluster).await;
        let at = self.started.elapsed();
        let leaders = by_leader(&topics);
        let asked = cluster
            .brokers
            .iter()
            .map(|broker| ask(&self.admin, broker, leaders.get(&broker.id)));
        let answers = join_all(asked).await;
        let mut sample = Sample {
            at,
            cluster_id: cluster.cluster_id.clone(),
            // In Kafka's newer clusters Metadata names any broker; the quorum names the active controller.
            controller: quorum
                .ok()
                .and_then(|quorum| quorum.leader)
                .or(cluster.controller)
                .map(|node| node.0),
            ..Sample::default()
        };
        let mut groups = Vec::new();
        let (mut ends, mut sizes) = (BTreeMap::new(), BTreeMap::new());
        for (broker, answers) in cluster.brokers.iter().zip(answers) {
            let figures = figures.get(&broker.id.0).cloned();
            sample.brokers.insert(broker.id.0, of_broker(broker, &answers, figures));
            sample.troubles.extend(answers.troubles);
            ends.extend(answers.ends);
            sizes.extend(
                answers
                    .sizes
                    .into_iter()
                    .map(|(partition, size)| ((broker.id, partition), size)),
            );
            groups.extend(answers.groups);
        }
        self.learn_min_in_sync(&topics).await;
        sample.topics = topics.iter().map(|topic| self.of_topic(topic, &ends, &sizes)).collect();
        add_unlisted(&mut sample);
        self.look_at_groups(&mut sample, groups).await;
        Ok(sample)
    }

    /// What nodes tell by HTTP, by their numbers.
    async fn figures(&mut self, cluster: &ClusterDescription) -> BTreeMap<i32, Figures> {
        let addresses = match &self.http {
            Some(addresses) => addresses.iter().cloned().collect::<BTreeSet<String>>(),
            None => cluster
                .brokers
                .iter()
                .map(|broker| at_http_port(&broker.host))
                .collect(),
        };
        let (started, known) = (self.started, &self.nodes);
        let asked = addresses.iter().map(|address| {
            let asked = timeout(ASIDE_MAX, scrape(address, known.get(address).copied(), started));
            async move { (address, asked.await.ok().flatten()) }
        });
        let mut figures = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        for (address, answer) in join_all(asked).await {
            if let Some((node, read)) = answer {
                nodes.insert(address.clone(), node);
                figures.insert(node, read);
            }
        }
        self.nodes = nodes;
        figures
    }

    /// Only topics that lack in-sync replicas can have too few of them because of what happened.
    async fn learn_min_in_sync(&mut self, topics: &[TopicDescription]) {
        let short = |topic: &&TopicDescription| {
            topic
                .partitions
                .iter()
                .any(|partition| partition.isr.len() < partition.replicas.len())
        };
        let short: BTreeSet<&str> = topics.iter().filter(short).map(|topic| topic.name.as_str()).collect();
        // It may be changed while nothing is wrong.
        self.min_in_sync.retain(|topic, _| short.contains(topic.as_str()));
        let unknown = short
            .iter()
            .filter(|topic| !self.min_in_sync.contains_key(**topic))
            .take(CONFIGS_MAX);
        let admin = &self.admin;
        let asked = unknown.map(|topic| async move {
            let resource = ConfigResource::Topic((*topic).to_owned());
            let entries = answer(admin.describe_configs(&resource)).await.ok()?;
            let entry = entries.into_iter().find(|entry| entry.name == "min.insync.replicas")?;
            Some(((*topic).to_owned(), entry.value?.parse().ok()?))
        });
        let learnt = join_all(asked).await;
        self.min_in_sync.extend(learnt.into_iter().flatten());
    }

    fn of_topic(
        &self,
        topic: &TopicDescription,
        ends: &BTreeMap<TopicPartition, i64>,
        sizes: &BTreeMap<(NodeId, TopicPartition), u64>,
    ) -> Topic {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
        let partitions = topic.partitions.iter().map(|partition| {
            let key = TopicPartition::new(topic.name.as_str(), partition.partition);
            let end = ends.get(&key).copied();
            Partition {
                number: partition.partition,
                leader: partition.leader.map(|node| node.0),
                replicas: ids(&partition.replicas),
                in_sync: ids(&partition.isr),
                end,
                size_bytes: partition.leader.and_then(|leader| sizes.get(&(leader, key)).copied()),
            }
        });
        Topic {
            name: topic.name.as_str().into(),
            min_in_sync: self.min_in_sync.get(&topic.name).copied(),
            partitions: partitions.collect(),
        }
    }

    /// Groups with members come first where there are too many.
    async fn look_at_groups(&self, sample: &mut Sample, mut groups: Vec<GroupListing>) {
        groups.sort_by_cached_key(|group| (group.state.to_string() == "Empty", group.group_id.clone()));
        sample.groups_left_out = groups.len().saturating_sub(GROUPS_MAX);
        groups.truncate(GROUPS_MAX);
        let asked = groups.iter().map(|group| self.look_at_group(group));
        let looked: Vec<_> = stream::iter(asked).buffer_unordered(GROUPS_AT_ONCE).collect().await;
        for (name, group, trouble) in looked {
            sample.groups.insert(name, group);
            sample.troubles.extend(trouble);
        }
    }

    async fn look_at_group(&self, listed: &GroupListing) -> (String, Group, Option<String>) {
        let name = &listed.group_id;
        let described = answer(self.admin.describe_group(name));
        let (described, offsets) = join(described, answer(self.admin.list_group_offsets(name))).await;
        let trouble = offsets.as_ref().err().map(|reason| format!("group {name}: {reason}"));
        let committed = offsets.ok().map(|offsets| {
            let offsets = offsets
                .into_iter()
                .map(|(partition, committed)| (partition, committed.offset.0));
            offsets.collect()
        });
        let described = described.ok();
        let state = described.as_ref().map_or(&listed.state, |described| &described.state);
        let group = Group {
            state: state.to_string(),
            members: described.as_ref().map(|described| described.members.len()),
            committed,
        };
        (name.clone(), group, trouble)
    }
}

/// Waits for an answer, but not for ever.
async fn answer<T, E: Display>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(ANSWER_MAX, asked).await {
        Ok(Ok(answered)) => Ok(answered),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {ANSWER_MAX:?}")),
    }
}

/// The metrics of the node at an address, and its number.
async fn scrape(address: &str, known: Option<i32>, started: Instant) -> Option<(i32, Figures)> {
    let node = match known {
        Some(node) => node,
        None => {
            let status = http::get(address, "/status").await.ok()?;
            let status: serde_json::Value = serde_json::from_slice(&status).ok()?;
            i32::try_from(status["node_id"].as_i64()?).ok()?
        }
    };
    let text = http::get(address, "/metrics").await.ok()?;
    let figures = Figures::read(&String::from_utf8_lossy(&text), started.elapsed())?;
    Some((node, figures))
}

type Led = BTreeMap<NodeId, BTreeSet<TopicPartition>>;

fn by_leader(topics: &[TopicDescription]) -> Led {
    let mut led = Led::new();
    for topic in topics {
        let name: std::sync::Arc<str> = topic.name.as_str().into();
        for partition in &topic.partitions {
            if let Some(leader) = partition.leader {
                let key = TopicPartition::new(name.clone(), partition.partition);
                led.entry(leader).or_default().insert(key);
            }
        }
    }
    led
}

/// Everything that only this broker knows.
async fn ask(admin: &Admin, broker: &ClusterBroker, led: Option<&BTreeSet<TopicPartition>>) -> Answers {
    if broker.fenced {
        // The client does not know where it is: clients are not told of it.
        let address = (broker.host.as_str(), u16::try_from(broker.port).unwrap_or_default());
        let dialled = timeout(ASIDE_MAX, TcpStream::connect(address)).await;
        return Answers {
            reached: matches!(dialled, Ok(Ok(_))),
            ..Answers::default()
        };
    }
    let empty = BTreeSet::new();
    let ends = admin.list_offsets_at(broker.id, led.unwrap_or(&empty), OffsetSpec::Latest);
    let others = join(
        answer(admin.describe_log_dirs(broker.id)),
        answer(admin.list_groups_at(broker.id)),
    );
    let (ends, (directories, groups)) = join(answer(ends), others).await;
    let mut answers = Answers {
        reached: ends.is_ok() || directories.is_ok() || groups.is_ok(),
        ..Answers::default()
    };
    let id = broker.id;
    match ends {
        Ok(listed) => {
            let found = listed
                .into_iter()
                .filter_map(|(partition, end)| Some((partition, end.ok()?.0)));
            answers.ends = found.collect();
        }
        Err(reason) => answers.troubles.push(format!("broker {id}: {reason}")),
    }
    match directories {
        Ok(directories) => {
            let disk = directories.iter().filter_map(|directory| {
                let (total_bytes, usable_bytes) = (directory.total_bytes?, directory.usable_bytes?);
                Some(Disk {
                    total_bytes,
                    usable_bytes,
                })
            });
            answers.disk = disk.reduce(|one, other| Disk {
                total_bytes: one.total_bytes + other.total_bytes,
                usable_bytes: one.usable_bytes + other.usable_bytes,
            });
            for replica in directories.iter().flat_map(|directory| &directory.replicas) {
                let key = TopicPartition::new(replica.topic.as_str(), replica.partition.0);
                answers.sizes.insert(key, replica.size_bytes);
            }
        }
        Err(reason) if answers.reached => answers.troubles.push(format!("broker {id}: {reason}")),
        Err(_) => {}
    }
    match groups {
        Ok(groups) => answers.groups = groups,
        Err(reason) if answers.reached => answers.troubles.push(format!("broker {id}: {reason}")),
        Err(_) => {}
    }
    answers
}

fn of_broker(broker: &ClusterBroker, answers: &Answers, figures: Option<Figures>) -> Broker {
    let state = match (broker.fenced, answers.reached) {
        (false, true) => State::Up,
        (false, false) => State::Silent,
        (true, true) => State::Fenced,
        (true, false) => State::Down,
    };
    Broker {
        address: format!("{}:{}", broker.host, broker.port),
        state,
        disk: answers.disk,
        figures,
    }
}

/// Brokers that hold replicas and are not listed: older versions of Kafka leave out those that are down.
fn add_unlisted(sample: &mut Sample) {
    let partitions = sample.topics.iter().flat_map(|topic| &topic.partitions);
    let holders: BTreeSet<i32> = partitions
        .flat_map(|partition| partition.replicas.iter().copied())
        .collect();
    for id in holders {
        sample.brokers.entry(id).or_default();
    }
}
