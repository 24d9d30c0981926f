//! A shard with clients around it, for tests: clients behave as consumers do, the network loses and repeats.
//!
//! What the model promises, and no more: requests of one client are processed in the order in which it sent them. A
//! request may be lost, processed twice, or processed without an answer; answers to requests given up are not heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, Moment, Timestamp, TopicId, Uuid};

use crate::call::{Call, CallId, Client as Caller, ConsumerHeartbeat, MemberIdChoice, PartitionsByTopic};
use crate::change::Change;
use crate::draft::Decision;
use crate::group::Group as AnyGroup;
use crate::record::Record;
use crate::reply::{ConsumerHeartbeatReply, Reply};
use crate::settings::Settings;
use crate::shard::{At, Event, Shard, TopicsAge};
use crate::topics::{Topic, Topics};

use super::group::Group;

/// Splitmix64: tests need no better.
pub struct Dice(pub u64);

impl Dice {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub fn topic_id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

/// Topics by name, id and number of partitions, without racks.
pub fn topics(described: &[(&str, u128, usize)]) -> Topics {
    let mut topics = Topics::default();
    for (name, id, partitions) in described {
        let topic = Topic {
            id: topic_id(*id),
            partitions: vec![BTreeSet::new(); *partitions],
        };
        topics.insert((*name).to_owned(), topic);
    }
    topics
}

/// The coordinator and its log.
pub struct World {
    pub shard: Shard,
    pub settings: Arc<Settings>,
    pub topics: Arc<Topics>,
    pub log: Vec<Record>,
    pub moment: Moment,
    pub history: Vec<crate::history::Happened>,
    /// Answers that nobody has fetched yet.
    pub inbox: Vec<(CallId, Reply)>,
    calls: u64,
}

pub const GROUP: &str = "g";

/// Every member is always told the same interval, as by Kafka.
pub fn settings() -> Settings {
    let settings = Settings::default();
    Settings {
        consumer_reconcile_interval: settings.consumer_heartbeat_interval,
        consumer_resting_interval: settings.consumer_heartbeat_interval,
        ..settings
    }
}

impl World {
    pub fn new(settings: Settings, topics: Topics) -> World {
        let (settings, topics) = (Arc::new(settings), Arc::new(topics));
        let mut world = World {
            shard: Shard::new(settings.clone(), topics.clone()),
            settings,
            topics,
            log: Vec::new(),
            moment: Moment(1_000_000),
            history: Vec::new(),
            inbox: Vec::new(),
            calls: 0,
        };
        let at = world.at();
        world.shard.start(at);
        world
    }

    pub fn at(&self) -> At {
        At {
            moment: self.moment,
            wall: Timestamp(i64::try_from(self.moment.0 / 1000).unwrap()),
            draw: u128::from(self.calls) + 1,
        }
    }

    /// Decides, applies, checks what must hold.
    pub fn happen(&mut self, event: Event) -> Decision {
        let at = self.at();
        let tick = event == Event::Tick;
        let decision = self.shard.decide(at, event);
        self.shard.apply(at, &decision.changes);
        for change in &decision.changes {
            if let Change::Record(record) = change {
                self.log.push(record.clone());
            }
        }
        if tick {
            self.shard.ticked(at);
        }
        self.history
            .extend(decision.history.iter().map(|entry| entry.happened.clone()));
        self.shard.validate().unwrap();
        self.inbox.extend(decision.replies.iter().cloned());
        decision
    }

    /// A call that may be answered later, in `inbox`.
    pub fn send(&mut self, call: Call) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        self.happen(Event::Call(id, call));
        id
    }

    /// The one reply to the call, and the records that it wrote.
    pub fn call(&mut self, call: Call) -> (Reply, Vec<Record>) {
        self.calls += 1;
        let id = CallId(self.calls);
        let decision = self.happen(Event::Call(id, call));
        self.inbox.retain(|(call, _)| *call != id);
        let records = decision.changes.iter().filter_map(|change| match change {
            Change::Record(record) => Some(record.clone()),
            Change::Transient { .. } => None,
        });
        let records = records.collect();
        let mut replies = decision.replies.into_iter().filter(|(call, _)| *call == id);
        let (_, reply) = replies.next().expect("every call of these tests is answered at once");
        (reply, records)
    }

    pub fn beat(&mut self, heartbeat: &ConsumerHeartbeat) -> ConsumerHeartbeatReply {
        match self.call(Call::ConsumerHeartbeat(Box::new(heartbeat.clone()))) {
            (Reply::ConsumerHeartbeat(reply), _) => *reply,
            (other, _) => panic!("{other:?} answers a heartbeat"),
        }
    }

    /// As if it had been decided.
    pub fn write(&mut self, record: Record) {
        let at = self.at();
        self.shard.apply(at, &[Change::Record(record.clone())]);
        self.log.push(record);
        self.shard.validate().unwrap();
    }

    pub fn pass(&mut self, time: Duration) {
        self.moment = self.moment + time;
        while self
            .shard
            .next_deadline()
            .is_some_and(|deadline| deadline <= self.moment)
        {
            self.happen(Event::Tick);
        }
    }

    pub fn set_topics(&mut self, topics: Topics) {
        self.topics = Arc::new(topics);
        self.shard.set_topics(self.topics.clone(), TopicsAge::Current);
        self.happen(Event::TopicsChanged);
    }

    pub fn group(&self) -> Option<&Group> {
        match self.shard.group(GROUP)? {
            AnyGroup::Consumer(group) => Some(group),
            AnyGroup::Classic(_) => None,
        }
    }

    /// Another coordinator takes over, from a log of which some superseded records are gone.
    pub fn reload(&mut self, dice: &mut Dice) {
        let mut last = BTreeMap::new();
        for (offset, record) in self.log.iter().enumerate() {
            last.insert(key(record), offset);
        }
        let cleaned_to = usize::try_from(dice.below(self.log.len() as u64 + 1)).unwrap();
        let mut newest = BTreeMap::new();
        for (offset, record) in self.log.iter().enumerate().take(cleaned_to) {
            newest.insert(key(record), offset);
        }
        let mut offset = 0;
        self.log.retain(|record| {
            let stays = offset >= cleaned_to || newest[&key(record)] == offset;
            offset += 1;
            stays
        });
        let at = self.at();
        let mut shard = Shard::new(self.settings.clone(), self.topics.clone());
        for record in &self.log {
            shard.replay(at, record.clone());
        }
        shard.start(at);
        shard.validate().unwrap();
        let before = self.shard.group(GROUP).map(persisted);
        assert_eq!(shard.group(GROUP).map(persisted), before, "the log says another thing");
        self.shard = shard;
    }
}

/// What the log has of a group.
fn persisted(group: &AnyGroup) -> String {
    match group {
        AnyGroup::Consumer(group) => format!(
            "{} {} {} {:?} {:?} {:?}",
            group.epoch, group.metadata_hash, group.target_epoch, group.members, group.targets, group.patterns
        ),
        // Rebalances under way are lost with their coordinator.
        AnyGroup::Classic(_) => "classic".to_owned(),
    }
}

fn key(record: &Record) -> (u8, String) {
    match record {
        Record::Offset { topic, partition, .. } => (0, format!("{topic}-{partition}")),
        Record::ClassicGroup { .. } => (2, String::new()),
        Record::ConsumerGroup { .. } => (3, String::new()),
        Record::ConsumerMember { member, .. } => (5, member.clone()),
        Record::ConsumerTargetEpoch { .. } => (6, String::new()),
        Record::ConsumerTarget { member, .. } => (7, member.clone()),
        Record::ConsumerCurrent { member, .. } => (8, member.clone()),
        Record::ConsumerRegex { regex, .. } => (16, regex.clone()),
    }
}

/// A heartbeat that says nothing but who speaks.
pub fn heartbeat(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: GROUP.to_owned(),
        member: member.to_owned(),
        member_id: MemberIdChoice::Client,
        member_epoch: epoch,
        instance: None,
        rack: None,
        client: Caller {
            id: "client".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        rebalance_timeout_ms: -1,
        subscribed_names: None,
        subscribed_regex: None,
        server_assignor: None,
        owned: None,
    }
}

/// The first heartbeat of a member.
pub fn join(member: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: 5000,
        subscribed_names: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
        owned: Some(PartitionsByTopic::new()),
        ..heartbeat(member, 0)
    }
}

/// Partitions of topics by their id numbers.
pub fn partitions(described: &[(u128, &[i32])]) -> PartitionsByTopic {
    let described = described.iter();
    described
        .map(|(id, partitions)| (topic_id(*id), partitions.iter().copied().collect()))
        .collect()
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub epoch: i32,
    pub names: Vec<String>,
    pub regex: String,
    /// What it reads from.
    pub owned: PartitionsByTopic,
    /// What it was last told to own.
    pub assignment: PartitionsByTopic,
    /// The last request failed: the next says everything.
    pub must_repeat: bool,
    pub last_told_owned: Option<PartitionsByTopic>,
    pub fenced: usize,
}

impl Client {
    pub fn new(id: &str, names: &[&str], regex: &str) -> Client {
        Client {
            id: id.to_owned(),
            epoch: 0,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            regex: regex.to_owned(),
            owned: PartitionsByTopic::new(),
            assignment: PartitionsByTopic::new(),
            must_repeat: true,
            last_told_owned: None,
            fenced: 0,
        }
    }

    pub fn request(&self) -> ConsumerHeartbeat {
        let full = self.must_repeat || self.epoch == 0;
        let owned_changed = self.last_told_owned.as_ref() != Some(&self.owned);
        ConsumerHeartbeat {
            rebalance_timeout_ms: if full { 5000 } else { -1 },
            subscribed_names: full.then(|| self.names.clone()),
            subscribed_regex: full.then(|| self.regex.clone()),
            owned: (full || owned_changed).then(|| self.owned.clone()),
            ..heartbeat(&self.id, self.epoch)
        }
    }

    /// The answer to `request` has come.
    pub fn hear(&mut self, request: &ConsumerHeartbeat, reply: &ConsumerHeartbeatReply) {
        if reply.error != ErrorCode::None {
            self.must_repeat = true;
            if matches!(
                reply.error,
                ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound
            ) {
                self.fenced += 1;
                self.epoch = 0;
                self.owned.clear();
                self.assignment.clear();
                self.last_told_owned = None;
            }
            return;
        }
        self.must_repeat = false;
        self.epoch = reply.member_epoch;
        if request.owned.is_some() {
            self.last_told_owned.clone_from(&request.owned);
        }
        if let Some(assignment) = &reply.assignment {
            self.assignment.clone_from(assignment);
        }
        // It begins to read at once what it is given, which is the hardest case for the coordinator.
        for (topic, partitions) in &self.assignment {
            self.owned.entry(*topic).or_default().extend(partitions);
        }
    }

    /// It has no answer and will not hear it.
    pub fn give_up(&mut self) {
        self.must_repeat = true;
    }

    /// It stops to read what it is to give up.
    pub fn revoke(&mut self) {
        for (topic, partitions) in &mut self.owned {
            let assigned = self.assignment.get(topic);
            partitions.retain(|partition| assigned.is_some_and(|assigned| assigned.contains(partition)));
        }
        self.owned.retain(|_, partitions| !partitions.is_empty());
    }
}
