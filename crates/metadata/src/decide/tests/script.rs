//! Runs a script of commands over an overlay and writes down what came of each: a reviewer reads the story.
//!
//! A line that is not indented is a command; the indented lines after it are its outcome: an error, a granted epoch,
//! and every partition that changed. The invariants are checked after each command.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use klamm_schema::metadata::{self as schema, Cause};
use klamm_schema::requests as r;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::{Bytes, id_bytes};
use klamm_types::{DirectoryId, ErrorCode, Incarnation, NodeId, PartitionId, Timestamp, TopicId};

use crate::decide::{Balance, Claim, Fence, Overlay, balance_leaders, bootstrap, decide, fence, unfence};
use crate::feature::FEATURES;
use crate::image::{Image, PartitionState};

/// Runs the script and compares the whole transcript with it.
pub(crate) fn check(script: &str) {
    let mut world = World::new();
    let mut transcript = String::new();
    for line in script.lines().map(str::trim_end) {
        if line.trim().is_empty() || line.starts_with('#') {
            writeln!(transcript, "{line}").unwrap();
        } else if !line.starts_with(' ') {
            writeln!(transcript, "{line}").unwrap();
            for outcome in world.run(line) {
                writeln!(transcript, "    {outcome}").unwrap();
            }
        }
    }
    let trimmed: Vec<&str> = script.lines().map(str::trim_end).collect();
    assert_eq!(
        transcript.trim_end(),
        trimmed.join("\n").trim_end(),
        "the transcript differs from the script"
    );
}

pub(crate) struct World {
    pub image: Image,
    index: u64,
    /// Every entry so far, the first being entry 1.
    pub log: Vec<schema::MetadataBatch>,
    pub incarnations: u128,
    /// When the next decision is made.
    pub now: Timestamp,
}

/// `name=value` arguments of a command and its plain words.
pub(crate) struct Arguments<'a> {
    pub words: Vec<&'a str>,
    pub named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Arguments<'a> {
    pub fn parse(line: &'a str) -> Arguments<'a> {
        let mut arguments = Arguments {
            words: Vec::new(),
            named: BTreeMap::new(),
        };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => {
                    arguments.named.insert(name, value);
                }
                None => arguments.words.push(word),
            }
        }
        arguments
    }

    pub fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.named.get(name).and_then(|text| text.parse().ok())
    }
}

impl World {
    pub fn new() -> World {
        let mut overlay = Overlay::new(&Image::new(), Timestamp(1_000), 7);
        bootstrap(&mut overlay, None);
        let mut world = World {
            image: Image::new(),
            index: 0,
            log: Vec::new(),
            incarnations: 0,
            now: Timestamp(1_000),
        };
        world.commit(overlay);
        world
    }

    /// A cluster of live brokers 1 to `count`.
    pub fn with_brokers(count: i32) -> World {
        let mut world = World::new();
        for broker in 1..=count {
            world.run(&format!("register {broker}"));
            world.run(&format!("unfence {broker}"));
        }
        world
    }

    pub fn overlay(&self) -> Overlay {
        Overlay::new(&self.image, self.now, u128::from(self.index) * 77 + 5)
    }

    /// Commits what an overlay holds, as the log would.
    pub fn commit(&mut self, overlay: Overlay) {
        let expected = overlay.image().to_records();
        let batch = overlay.into_batch().expect("decisions apply");
        self.index += 1;
        self.image
            .apply_batch(self.index, 1, &batch)
            .expect("the batch applies");
        self.log.push(batch);
        assert_eq!(self.image.to_records(), expected, "the overlay foresaw the image");
        self.image.validate().expect("the invariants hold");
    }

    pub fn request(&mut self, request: Request) -> Reply {
        let mut overlay = self.overlay();
        let reply = decide(&mut overlay, &request, Claim::Free);
        self.commit(overlay);
        reply
    }

    pub fn topic_id(&self, name: &str) -> TopicId {
        self.image.topic_by_name(name).expect("the topic exists").id
    }

    pub fn partition(&self, place: &str) -> &PartitionState {
        let (topic, partition) = self.place(place);
        self.image.partition(topic, partition).expect("the partition exists")
    }

    fn place(&self, text: &str) -> (TopicId, PartitionId) {
        let (topic, partition) = text.rsplit_once('-').expect("topic-partition");
        (self.topic_id(topic), PartitionId(partition.parse().expect("a number")))
    }

    /// Runs one command; gives its outcome as lines.
    pub fn run(&mut self, line: &str) -> Vec<String> {
        let before = self.image.clone();
        let arguments = Arguments::parse(line);
        let mut outcome = self.command(&arguments);
        let mut changed = Vec::new();
        for (topic, partition, state) in self.image.partitions() {
            if before.partition(topic.id, partition).map(AsRef::as_ref) != Some(state) {
                changed.push(format!("{}-{partition}: {}", topic.name, show(state)));
            }
        }
        // By name: topic ids are drawn at random.
        changed.sort();
        outcome.extend(changed);
        outcome
    }

    fn command(&mut self, arguments: &Arguments<'_>) -> Vec<String> {
        let broker = || arguments.words.get(1).and_then(|id| id.parse().ok()).unwrap_or(0);
        match arguments.words[0] {
            "register" => self.register(broker(), arguments),
            "unfence" => {
                let epoch = self.image.broker(NodeId(broker())).expect("registered").epoch;
                let mut overlay = self.overlay();
                let changed = unfence(&mut overlay, NodeId(broker()), epoch, Cause::CaughtUp);
                self.commit(overlay);
                if changed { vec![] } else { vec!["nothing".into()] }
            }
            "fence" => {
                let call = Fence {
                    broker: NodeId(broker()),
                    broker_epoch: self.image.broker(NodeId(broker())).expect("registered").epoch,
                    cause: Cause::ProcessEnded,
                    evidence: String::new(),
                    last_contact: None,
                };
                let mut overlay = self.overlay();
                let changed = fence(&mut overlay, &call);
                self.commit(overlay);
                if changed { vec![] } else { vec!["nothing".into()] }
            }
            "balance" => {
                let mut overlay = self.overlay();
                let balance = Balance {
                    imbalance_percent: 10,
                    moves_max: 100,
                };
                let moved = balance_leaders(&mut overlay, balance);
                self.commit(overlay);
                vec![format!("moved {moved}")]
            }
            "recover" => {
                let mut overlay = self.overlay();
                let basis = match arguments.has("backup") {
                    true => crate::decide::Basis::Logs,
                    false => crate::decide::Basis::Members,
                };
                crate::decide::recover_quorum(&mut overlay, 100, basis);
                self.commit(overlay);
                vec![]
            }
            _ => {
                let request = self.read_request(arguments);
                errors(&self.request(request))
            }
        }
    }

    fn register(&mut self, broker: i32, arguments: &Arguments<'_>) -> Vec<String> {
        let request = self.registration(broker, arguments);
        match self.request(Request::RegisterBroker(request)) {
            Reply::RegisterBroker(reply) if reply.error_code == 0 => vec![format!("epoch {}", reply.broker_epoch)],
            reply => errors(&reply),
        }
    }

    /// A registration that claims to have stored the broker's current epoch, unless the arguments say otherwise.
    pub fn registration(&mut self, broker: i32, arguments: &Arguments<'_>) -> r::RegisterBrokerRequest {
        self.incarnations += 1;
        let current = self.image.broker(NodeId(broker)).map_or(-1, |state| state.epoch.0);
        let directory = arguments.number("dir").unwrap_or(0);
        let last_run = match () {
            () if arguments.has("same-boot") => r::LastRun::DiedSameBoot,
            () if arguments.has("other-boot") => r::LastRun::DiedOtherBoot,
            () => r::LastRun::Clean,
        };
        let split = |name| {
            arguments
                .named
                .get(name)
                .into_iter()
                .flat_map(|list: &&str| list.split(','))
        };
        let damaged = split("damaged").map(|place| {
            let (topic, partition) = self.place(place);
            r::DamagedReplica {
                topic_id: id_bytes(topic.as_bytes()),
                partition: partition.0,
                reason: "bad checksum".into(),
            }
        });
        let logs = split("log").map(|log| {
            let mut fields = log.split(':');
            let (topic, partition) = self.place(fields.next().expect("a place"));
            let epoch = fields.next().expect("an epoch").parse().expect("a number");
            r::ReplicaLog {
                topic_id: id_bytes(topic.as_bytes()),
                partition: partition.0,
                highest_leader_epoch: epoch,
                last_epoch: epoch,
                log_end_offset: fields.next().expect("an end").parse().expect("a number"),
                unflushed: fields.next() == Some("unflushed"),
            }
        });
        r::RegisterBrokerRequest {
            broker,
            cluster_id: self
                .image
                .cluster_id()
                .map_or_else(Bytes::new, |id| id_bytes(id.as_bytes())),
            incarnation: id_bytes(Incarnation::from_u128(self.incarnations).as_bytes()),
            listeners: vec![schema::Listener {
                name: "PLAINTEXT".into(),
                host: format!("host-{broker}"),
                port: 9092,
            }],
            grpc_address: format!("host-{broker}:9190"),
            http_port: 7080,
            rack: arguments.named.get("rack").map(|rack| (*rack).to_string()),
            directories: vec![r::DirectoryReport {
                directory_id: id_bytes(directory_id(broker, directory).as_bytes()),
                stored_broker_epoch: arguments.number("stored").unwrap_or(current),
            }],
            last_run: last_run.into(),
            boot_id: String::new(),
            damaged: damaged.collect(),
            replica_logs: logs.collect(),
            features: features(),
        }
    }

    pub fn read_request(&self, arguments: &Arguments<'_>) -> Request {
        let word = |position: usize| *arguments.words.get(position).expect("an argument");
        let number = |position: usize| word(position).parse::<i32>().expect("a number");
        let epoch = |broker: i32| self.image.broker(NodeId(broker)).map_or(-1, |state| state.epoch.0);
        let place = |text: &str| {
            let (topic, partition) = self.place(text);
            (id_bytes(topic.as_bytes()), partition.0)
        };
        match word(0) {
            "create" => Request::CreateTopics(create_request(word(1), arguments)),
            "set" => Request::IncrementalAlterConfigs(set_request(word(1), arguments)),
            "alter" => Request::AlterPartition(self.alter_request(number(1), word(2), arguments)),
            "shutdown" => Request::ControlledShutdown(r::ControlledShutdownRequest {
                broker: number(1),
                broker_epoch: epoch(number(1)),
            }),
            "damage" => {
                let (topic_id, partition) = place(word(2));
                Request::ReportDamage(r::ReportDamageRequest {
                    broker: number(1),
                    broker_epoch: epoch(number(1)),
                    replicas: vec![r::DamagedReplica {
                        topic_id,
                        partition,
                        reason: "bad checksum".into(),
                    }],
                    failed_directories: vec![],
                })
            }
            "fail" => Request::ReportDamage(r::ReportDamageRequest {
                broker: number(1),
                broker_epoch: epoch(number(1)),
                replicas: vec![],
                failed_directories: vec![id_bytes(directory_id(number(1), 0).as_bytes())],
            }),
            "prefer" => {
                let (topic_id, partition) = place(word(1));
                Request::ElectLeaders(r::ElectLeadersRequest {
                    all: false,
                    partitions: vec![r::TopicPartition { topic_id, partition }],
                })
            }
            "operator" => {
                let (topic_id, partition) = place(word(1));
                let leader = arguments.number("leader").unwrap_or(-1);
                Request::OperatorElect(r::OperatorElectRequest {
                    elections: vec![r::OperatorElection {
                        topic_id,
                        partition,
                        leader,
                    }],
                })
            }
            "unregister" => Request::UnregisterBroker(r::UnregisterBrokerRequest { broker: number(1) }),
            other => panic!("no command {other}"),
        }
    }

    fn alter_request(&self, broker: i32, place: &str, arguments: &Arguments<'_>) -> r::AlterPartitionRequest {
        let (topic, partition) = self.place(place);
        let state = self.partition(place);
        let ids = |name| {
            let list = arguments.named.get(name).copied().unwrap_or("");
            list.split(',')
                .filter_map(|id| id.parse::<i32>().ok())
                .collect::<Vec<_>>()
        };
        let epoch = |broker: i32| self.image.broker(NodeId(broker)).map_or(-1, |state| state.epoch.0);
        r::AlterPartitionRequest {
            broker,
            broker_epoch: arguments.number("broker-epoch").unwrap_or(epoch(broker)),
            partitions: vec![r::AlterPartition {
                topic_id: id_bytes(topic.as_bytes()),
                partition: partition.0,
                leader_epoch: arguments.number("leader-epoch").unwrap_or(state.leader_epoch.0),
                partition_epoch: arguments.number("partition-epoch").unwrap_or(state.partition_epoch.0),
                new_isr: ids("isr")
                    .into_iter()
                    .map(|member| r::IsrMember {
                        broker: member,
                        broker_epoch: arguments.number("member-epoch").unwrap_or(epoch(member)),
                    })
                    .collect(),
                lost_data: ids("lost"),
            }],
        }
    }
}

pub(crate) fn directory_id(broker: i32, number: i32) -> DirectoryId {
    DirectoryId::from_u128(0xd000 + u128::from(broker.unsigned_abs()) * 16 + u128::from(number.unsigned_abs()))
}

pub(crate) fn features() -> Vec<schema::FeatureRange> {
    let ranges = FEATURES.iter().map(|feature| schema::FeatureRange {
        name: feature.name.into(),
        min_level: feature.min_level,
        max_level: feature.max_level,
    });
    ranges.collect()
}

fn set_request(resource: &str, arguments: &Arguments<'_>) -> r::IncrementalAlterConfigsRequest {
    let (resource_type, resource_name) = match resource {
        "cluster" => (4, String::new()),
        topic => (2, topic.to_string()),
    };
    let configs = arguments.named.iter().map(|(name, value)| r::AlterableConfig {
        name: (*name).to_string(),
        operation: 0,
        value: Some((*value).to_string()),
    });
    r::IncrementalAlterConfigsRequest {
        resources: vec![r::AlterConfigsResource {
            resource_type,
            resource_name,
            configs: configs.collect(),
        }],
        validate_only: false,
    }
}

fn create_request(name: &str, arguments: &Arguments<'_>) -> r::CreateTopicsRequest {
    let lists = arguments.named.get("replicas").copied().unwrap_or("");
    let assignments = lists
        .split('/')
        .filter(|list| !list.is_empty())
        .zip(0..)
        .map(|(list, partition)| {
            let replicas = list.split(',').map(|id| id.parse().expect("a broker id")).collect();
            r::ReplicaAssignment { partition, replicas }
        });
    let known = ["replicas", "partitions", "rf"];
    let configs = arguments.named.iter().filter(|(name, _)| !known.contains(name));
    r::CreateTopicsRequest {
        topics: vec![r::CreatableTopic {
            name: name.into(),
            num_partitions: arguments.number("partitions").unwrap_or(-1),
            replication_factor: arguments.number("rf").unwrap_or(-1),
            assignments: assignments.collect(),
            configs: configs
                .map(|(name, value)| r::TopicSetting {
                    name: (*name).to_string(),
                    value: Some((*value).to_string()),
                })
                .collect(),
            ..r::CreatableTopic::default()
        }],
        validate_only: false,
    }
}

pub(crate) fn errors(reply: &Reply) -> Vec<String> {
    let codes: Vec<i32> = match reply {
        Reply::RegisterBroker(reply) => vec![reply.error_code],
        Reply::UnregisterBroker(reply) => vec![reply.error_code],
        Reply::CreateTopics(reply) => reply.topics.iter().map(|topic| topic.error_code).collect(),
        Reply::DeleteTopics(reply) => reply.topics.iter().map(|topic| topic.error_code).collect(),
        Reply::CreatePartitions(reply) => reply.results.iter().map(|topic| topic.error_code).collect(),
        Reply::IncrementalAlterConfigs(reply) => reply.resources.iter().map(|one| one.error_code).collect(),
        Reply::AllocateProducerIds(reply) => vec![reply.error_code],
        Reply::AlterPartition(reply) => {
            let partitions = reply.partitions.iter().map(|partition| partition.error_code);
            std::iter::once(reply.error_code).chain(partitions).collect()
        }
        Reply::ControlledShutdown(reply) => {
            let mut lines: Vec<String> = codes_to_lines([reply.error_code]);
            if !reply.still_led.is_empty() {
                lines.push(format!("still leads {}", reply.still_led.len()));
            }
            return lines;
        }
        Reply::ElectLeaders(reply) => reply.partitions.iter().map(|one| one.error_code).collect(),
        Reply::ReportDamage(reply) => vec![reply.error_code],
        Reply::UpdateFeatures(reply) => vec![reply.error_code],
        Reply::OperatorElect(reply) => reply.partitions.iter().map(|one| one.error_code).collect(),
    };
    codes_to_lines(codes)
}

fn codes_to_lines(codes: impl IntoIterator<Item = i32>) -> Vec<String> {
    let failed = codes.into_iter().filter(|&code| code != 0);
    let errors = failed.map(|code| ErrorCode::from_code(i16::try_from(code).unwrap()).expect("a known code"));
    errors.map(|error| error.name().to_string()).collect()
}

/// A partition on one line; empty lists are left out.
pub(crate) fn show(state: &PartitionState) -> String {
    let list = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let leader = state.leader.map_or("none".to_string(), |leader| leader.to_string());
    let mut line = format!("leader {leader} epoch {}.{}", state.leader_epoch, state.partition_epoch);
    let mut add = |name: &str, text: String| {
        if !text.is_empty() {
            write!(line, " {name} {text}").unwrap();
        }
    };
    add("isr", list(&state.isr));
    add("elr", list(&state.elr));
    let last_known = state.last_known_elr.iter().map(|known| match known.log_end {
        Some(end) => format!("{}@{}:{}", known.broker, end.last_epoch, end.end_offset),
        None => known.broker.to_string(),
    });
    add("last", last_known.collect::<Vec<_>>().join(","));
    line
}
