//! One of the two clusters: its brokers' addresses, its API versions, the topics that cases have made.
//!
//! Requests that set things up go through here and are compared with nothing; they are repeated until they succeed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use klamm_types::Uuid;
use klamm_wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use klamm_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use klamm_wire::metadata_request::MetadataRequestTopic;
use klamm_wire::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    Reader, Request, Tree, VersionRange, encode_request, read_response, read_response_header,
};

use crate::connection::{Connection, Reply};

/// How long a cluster may take for what prepares a case.
const SETUP: Duration = Duration::from_secs(20);
/// What all requests call themselves.
pub const CLIENT: &str = "beside";

/// A topic that exists on every broker of the cluster, its leaders ready.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
}

pub struct Cluster {
    pub name: &'static str,
    pub cluster_id: String,
    pub versions: BTreeMap<ApiKey, VersionRange>,
    brokers: BTreeMap<i64, String>,
    connections: BTreeMap<i64, Connection>,
    pub topics: BTreeMap<String, Topic>,
    pub sent: usize,
}

impl Cluster {
    /// Finds the brokers and waits until every one of them answers as it will later.
    pub fn open(name: &'static str, bootstrap: &str) -> Result<Cluster> {
        let first = bootstrap.split(',').next().unwrap_or(bootstrap);
        let mut cluster = Cluster {
            name,
            cluster_id: String::new(),
            versions: BTreeMap::new(),
            brokers: BTreeMap::from([(0, first.to_owned())]),
            connections: BTreeMap::new(),
            topics: BTreeMap::new(),
            sent: 0,
        };
        let none = MetadataRequest {
            topics: Some(Vec::new()),
            ..Default::default()
        };
        let metadata = cluster.until(0, 12, &none, |tree| list(tree, "brokers").len() == 3)?;
        cluster.cluster_id = text(&metadata, "cluster_id");
        cluster.brokers = list(&metadata, "brokers").iter().map(address).collect();
        cluster.connections.clear();
        let software = ApiVersionsRequest {
            client_software_name: CLIENT,
            client_software_version: "1",
        };
        let versions = cluster.until(1, 3, &software, |tree| number(tree, "error_code") == 0)?;
        for api in list(&versions, "api_keys") {
            let Some(key) = i16::try_from(number(api, "api_key")).ok().and_then(ApiKey::from_code) else {
                continue;
            };
            let range = VersionRange::new(number(api, "min_version") as i16, number(api, "max_version") as i16);
            cluster.versions.insert(key, range);
        }
        for broker in 1..=3 {
            // The first producer ids of a broker take it a moment.
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 1000,
                ..Default::default()
            };
            cluster.until(broker, 2, &request, |tree| number(tree, "error_code") == 0)?;
        }
        Ok(cluster)
    }

    /// The connection to a broker, opened if there is none.
    pub fn connection(&mut self, broker: i64) -> Result<&mut Connection> {
        if !self.connections.contains_key(&broker) {
            let opened = self.another_connection(broker)?;
            self.connections.insert(broker, opened);
        }
        self.connections.get_mut(&broker).context("was inserted above")
    }

    /// One more connection to a broker, for a request that waits.
    pub fn another_connection(&self, broker: i64) -> Result<Connection> {
        let address = self
            .brokers
            .get(&broker)
            .with_context(|| format!("no broker {broker}"))?;
        Connection::open(address).with_context(|| format!("connecting to {address}"))
    }

    /// Forgets a connection that is of no further use.
    pub fn drop_connection(&mut self, broker: i64) {
        self.connections.remove(&broker);
    }

    /// Asks and reads the answer, compared with nothing.
    pub fn call<R: Request>(&mut self, broker: i64, version: i16, request: &R) -> Result<Tree> {
        let frame = encode_request(request, version, 1, Some(CLIENT))?.into_bytes();
        let connection = self.connection(broker)?;
        connection.send(&frame);
        let reply = connection.receive();
        let Reply::Frame(bytes) = reply else {
            self.drop_connection(broker);
            bail!("{}: broker {broker} does not answer {}", self.name, R::KEY);
        };
        read_answer(R::KEY, version, &bytes)
    }

    /// Repeats a request until its answer is the one to wait for.
    pub fn until<R: Request>(
        &mut self,
        broker: i64,
        version: i16,
        request: &R,
        done: impl Fn(&Tree) -> bool,
    ) -> Result<Tree> {
        let begin = Instant::now();
        loop {
            let answer = self.call(broker, version, request);
            match &answer {
                Ok(tree) if done(tree) => return answer,
                _ if begin.elapsed() > SETUP => {
                    let last = answer.map_or_else(|error| format!("{error:#}"), |tree| format!("{tree:?}"));
                    bail!(
                        "{}: broker {broker} is not ready, the last answer to {} is {last}",
                        self.name,
                        R::KEY
                    )
                }
                _ => std::thread::yield_now(),
            }
        }
    }

    /// A topic whose partition n has the replicas 1, 2 and 3 and is led by broker 1 + n mod 3.
    pub fn topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<Topic> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.clone());
        }
        let mut topic = CreatableTopic {
            name,
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        };
        topic.assignments = (0..partitions).map(|index| assignment(index, 3)).collect();
        // The records of the cases are old, and none may vanish while they are looked at.
        let configs = [("retention.ms", "-1")].iter().chain(configs);
        topic.configs = configs
            .map(|(name, value)| CreatableTopicConfig {
                name,
                value: Some(value),
            })
            .collect();
        self.create(topic, partitions)
    }

    /// Creates a topic and waits until all brokers know it and all leaders serve it.
    pub fn create(&mut self, topic: CreatableTopic<'_>, partitions: i32) -> Result<Topic> {
        let name = topic.name;
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let created = |tree: &Tree| {
            let code = list(tree, "topics")
                .first()
                .map_or(-1, |topic| number(topic, "error_code"));
            code == 0 || code == 36
        };
        self.until(1, 7, &request, created)?;
        let wanted = MetadataRequestTopic {
            name: Some(name),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![wanted]),
            ..Default::default()
        };
        let mut id = Uuid::ZERO;
        for broker in 1..=3 {
            let known = |tree: &Tree| {
                let topic = &list(tree, "topics")[0];
                let settled =
                    |partition: &Tree| list(partition, "isr_nodes").len() == list(partition, "replica_nodes").len();
                let all = list(topic, "partitions");
                number(topic, "error_code") == 0 && all.len() == partitions as usize && all.iter().all(settled)
            };
            let answer = self.until(broker, 12, &request, known)?;
            if let Some(Tree::Uuid(found)) = list(&answer, "topics")[0].field("topic_id") {
                id = *found;
            }
            let leaders = list(&list(&answer, "topics")[0], "partitions").to_vec();
            for partition in leaders
                .iter()
                .filter(|partition| number(partition, "leader_id") == broker)
            {
                self.await_leader(broker, name, number(partition, "partition_index") as i32)?;
            }
        }
        let topic = Topic {
            name: name.to_owned(),
            id,
        };
        self.topics.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    fn await_leader(&mut self, broker: i64, name: &str, partition_index: i32) -> Result<()> {
        let asked = ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name,
            partitions: vec![asked],
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let serves = |tree: &Tree| number(&list(&list(tree, "topics")[0], "partitions")[0], "error_code") == 0;
        self.until(broker, 7, &request, serves)?;
        Ok(())
    }
}

/// Partition n on `replicas` brokers, the first of them 1 + n mod 3.
pub fn assignment(partition_index: i32, replicas: i32) -> CreatableReplicaAssignment {
    let broker_ids = (0..replicas)
        .map(|replica| 1 + (partition_index + replica) % 3)
        .collect();
    CreatableReplicaAssignment {
        partition_index,
        broker_ids,
    }
}

/// A frame without its length as a tree.
fn read_answer(key: ApiKey, version: i16, frame: &Bytes) -> Result<Tree> {
    let mut reader = Reader::new(frame);
    read_response_header(&mut reader, key, version)?;
    Ok(read_response(key, version, &mut reader)?)
}

fn address(broker: &Tree) -> (i64, String) {
    let (host, port) = (text(broker, "host"), number(broker, "port"));
    (number(broker, "node_id"), format!("{host}:{port}"))
}

pub fn list<'t>(tree: &'t Tree, name: &str) -> &'t [Tree] {
    tree.field(name).map_or(&[], Tree::items)
}

pub fn number(tree: &Tree, name: &str) -> i64 {
    tree.field(name).and_then(Tree::number).unwrap_or(i64::MIN)
}

pub fn text(tree: &Tree, name: &str) -> String {
    match tree.field(name) {
        Some(Tree::Text(text)) => text.clone(),
        _ => String::new(),
    }
}
