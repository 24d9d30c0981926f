//! A shell made of a script: each command is an event, the indented lines are the effects, in order. Entries are
//! committed at once unless the script holds them. The invariants are checked after each step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, MetadataBatch, MetadataRecord};
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, ErrorCode, Incarnation, Moment, NodeId, PartitionId, Timestamp, TopicId, Uuid};

use crate::core::{
    Closed, Controller, Effect, Event, Heartbeat, Hello, Now, Outcome, ProbeAnswer, ProbeId, ProposalId, RequestId,
    SessionId, Settings,
};
use crate::decide::tests::script::{Arguments, World, errors, show};
use crate::decide::{Elected, Ended};
use crate::image::{Image, PartitionState};

/// Runs the script and compares the whole transcript with it.
pub(super) fn check(script: &str) {
    let mut shell = Shell::new();
    let mut transcript = String::new();
    for line in script.lines().map(str::trim_end) {
        if line.trim().is_empty() || line.starts_with('#') {
            writeln!(transcript, "{line}").unwrap();
        } else if !line.starts_with(' ') {
            writeln!(transcript, "{line}").unwrap();
            for outcome in shell.run(line) {
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

pub(super) struct Shell {
    pub controller: Controller,
    world: World,
    now: Moment,
    term: u64,
    index: u64,
    requests: u64,
    /// Proposals are not committed by themselves.
    pub held: bool,
    pub proposal: Option<(ProposalId, u64, MetadataBatch)>,
    pub probes: BTreeMap<NodeId, (ProbeId, Incarnation)>,
    pub sessions: BTreeMap<NodeId, SessionId>,
    next_session: u64,
    /// The end of a controller that the next election's winner has seen.
    pub ended: Option<Ended>,
    out: Vec<String>,
}

impl Shell {
    pub fn new() -> Shell {
        Shell {
            controller: Controller::new(Settings::default(), Image::new()),
            world: World::new(),
            now: Moment(1_000_000),
            term: 0,
            index: 0,
            requests: 0,
            held: false,
            proposal: None,
            probes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            ended: None,
            out: Vec::new(),
        }
    }

    /// A leading controller over live brokers 1 to `count`, each with a session.
    fn start(&mut self, count: i32) {
        self.run("lead");
        for broker in 1..=count {
            self.run(&format!("request register {broker}"));
            self.run(&format!("open {broker}"));
            self.run(&format!("beat {broker}"));
        }
    }

    /// Runs one command; gives the effects as lines.
    pub fn run(&mut self, line: &str) -> Vec<String> {
        self.out.clear();
        let arguments = Arguments::parse(line);
        let broker = NodeId(arguments.words.get(1).and_then(|id| id.parse().ok()).unwrap_or(0));
        match arguments.words[0] {
            "start" => {
                self.start(broker.0);
                self.out.clear();
            }
            "lead" => self.lead(),
            "elected" => {
                self.term += 1;
                self.become_leader();
            }
            "blank" => self.apply(MetadataBatch::default()),
            "depose" => {
                self.proposal = None;
                self.step(Event::LostLeadership);
            }
            "hold" => self.held = true,
            "commit" => {
                self.held = false;
                self.commit();
            }
            "outcome" => self.end_proposal(&arguments),
            "request" => self.request(line.trim_start_matches("request ")),
            "open" => self.open(broker, &arguments),
            "beat" => self.beat(broker, &arguments),
            "eof" => self.close(broker, Closed::EndOfFile),
            "error" => self.close(broker, Closed::StreamError),
            "goodbye" => self.close(broker, Closed::Goodbye),
            "hint" => {
                let broker_epoch = self.epoch(broker);
                self.step(Event::FollowerHint { broker, broker_epoch });
            }
            "probe" => self.answer_probe(broker, &arguments),
            "wait" => self.wait(&arguments),
            "sleep" => {
                self.now = self.now + Duration::from_millis(arguments.words[1].parse().unwrap());
                self.step(Event::Tick);
            }
            other => panic!("no command {other}"),
        }
        std::mem::take(&mut self.out)
    }

    /// What the last reign left in flight is in the log or not, before the blank entry of the new one.
    fn lead(&mut self) {
        let left = self.proposal.take().filter(|_| self.now.0.is_multiple_of(100_000));
        self.step(Event::LostLeadership);
        if let Some((_, _, batch)) = left {
            self.apply(batch);
        }
        self.term += 1;
        self.become_leader();
        self.apply(MetadataBatch::default());
    }

    fn become_leader(&mut self) {
        let term = self.term;
        let elected = Elected {
            node: NodeId(100),
            term,
            ended: self.ended.take(),
        };
        self.step(Event::BecameLeader { term, elected });
    }

    fn request(&mut self, line: &str) {
        let arguments = Arguments::parse(line);
        self.world.image = self.controller.image().clone();
        let request = match arguments.words[0] {
            "register" => {
                let broker = arguments.words[1].parse().unwrap();
                Request::RegisterBroker(self.world.registration(broker, &arguments))
            }
            _ => self.world.read_request(&arguments),
        };
        self.requests += 1;
        let id = RequestId(self.requests);
        let from = NodeId(0);
        self.step(Event::Request { id, from, request });
    }

    /// `epoch=` of an older registration, `incarnation=other`.
    fn open(&mut self, broker: NodeId, arguments: &Arguments<'_>) {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.sessions.insert(broker, session);
        let image = self.controller.image();
        let state = image.broker(broker).expect("registered");
        let mut incarnation = state.incarnation;
        if arguments.named.contains_key("incarnation") {
            incarnation = Incarnation::from_u128(0xdead);
        }
        let hello = Hello {
            cluster: image.cluster_id().expect("a cluster id"),
            broker,
            broker_epoch: arguments.number("epoch").map_or(state.epoch, BrokerEpoch),
            incarnation,
            applied_index: 0,
        };
        self.step(Event::SessionOpened { session, hello });
    }

    /// Ready and up to date, unless `applied=` or `unready` say otherwise.
    fn beat(&mut self, broker: NodeId, arguments: &Arguments<'_>) {
        let heartbeat = Heartbeat {
            applied_index: arguments
                .number("applied")
                .unwrap_or(self.controller.image().applied_index()),
            ready: !arguments.has("unready"),
        };
        let session = self.sessions[&broker];
        self.step(Event::SessionHeartbeat { session, heartbeat });
    }

    fn close(&mut self, broker: NodeId, how: Closed) {
        let session = self.sessions[&broker];
        self.step(Event::SessionClosed { session, how });
    }

    fn answer_probe(&mut self, broker: NodeId, arguments: &Arguments<'_>) {
        let (probe, incarnation) = self.probes.remove(&broker).expect("a probe is under way");
        let answer = match arguments.words[2] {
            "refused" => ProbeAnswer::Refused,
            "same" => ProbeAnswer::Identified { incarnation },
            "other" => ProbeAnswer::Identified {
                incarnation: Incarnation::from_u128(0xdead),
            },
            _ => ProbeAnswer::NoAnswer,
        };
        self.step(Event::ProbeAnswered { probe, answer });
    }

    /// Ticks; brokers named in `beating=` send heartbeats meanwhile.
    fn wait(&mut self, arguments: &Arguments<'_>) {
        let millis: u64 = arguments.words[1].parse().unwrap();
        let beating = arguments.named.get("beating").copied().unwrap_or("");
        let beating: Vec<NodeId> = beating
            .split(',')
            .filter_map(|id| id.parse().ok())
            .map(NodeId)
            .collect();
        for _ in 0..millis / 50 {
            self.now = self.now + Duration::from_millis(50);
            for &broker in &beating {
                self.beat(broker, &Arguments::parse("beat"));
            }
            self.step(Event::Tick);
        }
    }

    fn end_proposal(&mut self, arguments: &Arguments<'_>) {
        let (proposal, _, batch) = self.proposal.take().expect("a proposal is under way");
        let outcome = match arguments.words[1] {
            "rejected" => Outcome::Rejected,
            _ => Outcome::Unknown,
        };
        self.step(Event::ProposalOutcome { proposal, outcome });
        if arguments.has("applied") {
            self.apply(batch);
        }
    }

    pub fn commit(&mut self) {
        while let Some((proposal, _, batch)) = self.proposal.take() {
            self.apply(batch);
            let index = self.index;
            let outcome = Outcome::Applied { index };
            self.step(Event::ProposalOutcome { proposal, outcome });
            if self.held {
                break;
            }
        }
    }

    pub fn apply(&mut self, batch: MetadataBatch) {
        self.index += 1;
        let (index, term) = (self.index, self.term);
        self.step(Event::Applied { index, term, batch });
        if !self.held {
            self.commit();
        }
    }

    pub fn step(&mut self, event: Event) {
        let now = Now {
            moment: self.now,
            timestamp: Timestamp(i64::try_from(self.now.0 / 1_000).unwrap()),
            random: u128::from(self.now.0) * 31 + u128::from(self.index),
        };
        let mut effects = Vec::new();
        self.controller
            .step(now, event, &mut effects)
            .expect("the node goes on");
        self.controller.validate().expect("the invariants hold");
        for effect in effects {
            self.carry_out(effect);
        }
        if !self.held && self.proposal.is_some() {
            self.commit();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Propose { proposal, term, batch } => {
                let what = batch
                    .records
                    .iter()
                    .map(|record| self.describe(record))
                    .collect::<Vec<_>>();
                self.out.push(format!("propose {}", what.join("; ")));
                let before = self.proposal.replace((proposal, term, batch));
                assert!(before.is_none(), "one proposal in flight");
            }
            Effect::Reply { id, reply } => {
                let text = match (&reply.reply, reply.error_code) {
                    (Some(reply), 0) => outcome_text(reply),
                    (_, code) => error_name(code).to_string(),
                };
                self.out.push(format!("reply {} {text}", id.0));
            }
            Effect::Probe { probe, target } => {
                self.probes.insert(target.broker, (probe, target.incarnation));
                self.out.push(format!("probe {} at {}", target.broker, target.address));
            }
            // Every heartbeat is answered; that says nothing new.
            Effect::SessionReply { .. } => {}
            Effect::EndSession { session, error, .. } => {
                let owner = self.sessions.iter().find(|(_, open)| **open == session);
                let owner = owner.map_or("an older one".to_string(), |(broker, _)| broker.to_string());
                self.out.push(format!("end session of {owner}: {}", error.name()));
            }
        }
    }

    pub fn epoch(&self, broker: NodeId) -> BrokerEpoch {
        self.controller.image().broker(broker).expect("registered").epoch
    }

    fn describe(&self, record: &MetadataRecord) -> String {
        let image = self.controller.image();
        let name = |bytes: &[u8]| {
            let id = TopicId(Uuid::from_slice(bytes).expect("an id"));
            image
                .topic(id)
                .map_or("new".to_string(), |topic| topic.name.to_string())
        };
        match record.record.as_ref().expect("a record") {
            Record::NoOp(_) => "nothing".into(),
            Record::ClusterIdentity(_) => "cluster id".into(),
            Record::FeatureLevel(feature) => format!("level {}", feature.level),
            Record::RegisterBroker(broker) => format!("register {} as {}", broker.broker, broker.broker_epoch),
            Record::BrokerChange(change) => {
                let cause = change
                    .decision
                    .as_ref()
                    .map_or(Cause::Unknown, |decision| decision.cause());
                let what = if change.fenced { "fence" } else { "unfence" };
                let what = if cause == Cause::ControlledShutdown {
                    "relieve"
                } else {
                    what
                };
                format!("{what} {} {cause:?}", change.broker)
            }
            Record::Topic(topic) => format!("topic {}", topic.name),
            Record::Partition(partition) => format!("partition {}", partition.partition),
            Record::PartitionChange(change) => {
                let topic = TopicId(Uuid::from_slice(&change.topic_id).expect("an id"));
                let partition = PartitionId(change.partition);
                let mut state = image
                    .partition(topic, partition)
                    .map_or_else(PartitionState::default, |state| PartitionState::clone(state));
                state.set_leadership(change.leadership.as_ref().expect("a leadership"));
                format!("{}-{partition} {}", name(&change.topic_id), show(&state))
            }
            Record::Config(config) => format!("set {}", config.name),
            Record::ProducerIds(ids) => format!("producer ids below {}", ids.next_producer_id),
            Record::UnregisterBroker(broker) => format!("unregister {}", broker.broker),
            Record::ControllerChange(change) => format!("controller {}", change.controller),
            Record::HistoryText(_)
            | Record::PartitionHistory(_)
            | Record::BrokerHistory(_)
            | Record::ControllerHistory(_) => "history".into(),
            Record::BrokerEpochFloor(_) | Record::RemoveTopic(_) => "remove".into(),
        }
    }
}

fn outcome_text(reply: &Reply) -> String {
    let errors = errors(reply);
    match reply {
        Reply::RegisterBroker(reply) if errors.is_empty() => format!("epoch {}", reply.broker_epoch),
        _ if errors.is_empty() => "ok".into(),
        _ => errors.join(" "),
    }
}

fn error_name(code: i32) -> &'static str {
    ErrorCode::from_code(i16::try_from(code).unwrap())
        .expect("a known code")
        .name()
}
