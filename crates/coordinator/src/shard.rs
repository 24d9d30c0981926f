//! One partition of `__consumer_offsets`: all its groups and offsets.
//!
//! ```text
//!  new ── replay* ── start ──► serving: decide ─ apply ─ decide ─ apply …
//! ```
//!
//! Which handler a call goes to is decided here, by the kind that the group is now; what the handler does is its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{LeaderEpoch, Moment, Timestamp};

use crate::call::{Call, CallId};
use crate::change::Change;
use crate::draft::{Decision, Draft, Ground};
use crate::group::{self, Group};
use crate::offsets::Offsets;
use crate::record::Record;
use crate::settings::Settings;
use crate::topics::Topics;
use crate::{classic, consumer, offsets};

/// So many groups are looked at in one tick; the rest follow in the next, at once.
const GROUPS_PER_TICK_MAX: usize = 64;

/// When an event happens, and random bits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    pub moment: Moment,
    pub wall: Timestamp,
    /// Fresh with every event; member ids are made of it.
    pub draw: u128,
}

/// What can happen to a shard that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Call(CallId, Call),
    /// The time that [`Shard::next_deadline`] named has come.
    Tick,
    /// [`Shard::set_topics`] has brought other topics.
    TopicsChanged,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Shard {
    settings: Arc<Settings>,
    topics: Arc<Topics>,
    /// Never holds `None`: an absent group is an absent entry. The option is what drafts borrow.
    groups: BTreeMap<String, Option<Group>>,
    offsets: Offsets,
    /// At most one entry per group, never later than its next deadline; early ones cost a look.
    wakes: BTreeSet<(Moment, String)>,
    wake_of: BTreeMap<String, Moment>,
    next_expiry: Option<Moment>,
    /// Offsets of deleted topics are left: a tick is due at once.
    has_deleted_topics: bool,
    topics_age: TopicsAge,
}

/// Whether the topics that a shard knows are at least as new as the leadership that it serves in. If they may be older,
/// a topic that is not among them may have been made since then, and its offsets committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicsAge {
    #[default]
    Current,
    MayBeOlder,
}

impl TopicsAge {
    /// Of an image that shows this leader epoch of the shard's partition, for a shard that serves in `serves_in`: a
    /// broker may learn that it leads before it shows the image that says so.
    pub fn of(shown: Option<LeaderEpoch>, serves_in: LeaderEpoch) -> TopicsAge {
        match shown {
            Some(shown) if shown >= serves_in => TopicsAge::Current,
            _ => TopicsAge::MayBeOlder,
        }
    }
}

impl Shard {
    pub fn new(settings: Arc<Settings>, topics: Arc<Topics>) -> Shard {
        Shard {
            settings,
            topics,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            next_expiry: None,
            has_deleted_topics: false,
            topics_age: TopicsAge::Current,
        }
    }

    /// Loading: one record of the log, in the order of the log.
    pub fn replay(&mut self, at: At, record: Record) {
        self.apply_one(at, &Change::Record(record));
    }

    /// Loading has ended: sessions and expiry begin.
    pub fn start(&mut self, at: At) {
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            if let Some(Some(group)) = self.groups.get_mut(&name) {
                group.start(at, &self.settings);
            }
            self.rearm(&name);
        }
        self.next_expiry = Some(at.moment + self.settings.offsets_retention_check);
        self.look_for_deleted_topics();
    }

    /// The clock has jumped over a deadline: the coordinator slept, and nobody could have called. Nothing ends before
    /// its whole time has passed once more.
    pub fn restart_waits(&mut self, at: At) {
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            if let Some(Some(group)) = self.groups.get_mut(&name) {
                group.restart_waits(at, &self.settings);
            }
            self.rearm(&name);
        }
    }

    /// By how much the first deadline of a group has been missed.
    pub fn late_by(&self, now: Moment) -> Duration {
        self.wakes.first().map_or(Duration::ZERO, |(due, _)| now.since(*due))
    }

    /// Takes other topics; [`Event::TopicsChanged`] follows.
    pub fn set_topics(&mut self, topics: Arc<Topics>, age: TopicsAge) {
        (self.topics, self.topics_age) = (topics, age);
        self.look_for_deleted_topics();
    }

    fn look_for_deleted_topics(&mut self) {
        let is_known = self.topics_age == TopicsAge::Current;
        self.has_deleted_topics = is_known && self.offsets.has_deleted_topics(&self.topics);
    }

    /// Takes other settings; they count from the next decision on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// What the event leads to. Changes nothing.
    pub fn decide(&self, at: At, event: Event) -> Decision {
        match event {
            Event::Call(id, Call::ListGroups(filter)) => offsets::list_groups(self, id, &filter),
            Event::Call(id, call) => self.call(at, id, call),
            Event::Tick => self.tick(at),
            Event::TopicsChanged => self.topics_changed(at),
        }
    }

    /// Carries a decision out. The only writer.
    pub fn apply(&mut self, at: At, changes: &[Change]) {
        for change in changes {
            self.apply_one(at, change);
        }
    }

    /// When [`Event::Tick`] is due; never later than anything waits for.
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.has_deleted_topics {
            return Some(Moment::default());
        }
        let group = self.wakes.first().map(|(moment, _)| *moment);
        match (group, self.next_expiry) {
            (Some(group), Some(expiry)) => Some(group.min(expiry)),
            (one, other) => one.or(other),
        }
    }

    /// A tick was decided and applied: the wakes that were due are armed again.
    pub fn ticked(&mut self, at: At) {
        let due: Vec<String> = self.due(at).map(str::to_owned).collect();
        for name in due {
            self.rearm(&name);
        }
        if self.next_expiry.is_some_and(|expiry| expiry <= at.moment) && !self.has_expired_offsets(at) {
            self.next_expiry = Some(at.moment + self.settings.offsets_retention_check);
        }
        self.look_for_deleted_topics();
    }

    /// The groups with members or a generation, in order of their names; groups that only have offsets are not here.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups
            .iter()
            .filter_map(|(name, group)| Some((name.as_str(), group.as_ref()?)))
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)?.as_ref()
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Of transactions, whose records the shard does not know yet.
    #[cfg(test)]
    pub(crate) fn offsets_mut(&mut self) -> &mut Offsets {
        &mut self.offsets
    }

    /// What must hold after every change.
    pub fn validate(&self) -> Result<(), String> {
        self.offsets.validate()?;
        for (name, group) in &self.groups {
            let group = group
                .as_ref()
                .ok_or_else(|| format!("{name}: an absent group has an entry"))?;
            group.validate().map_err(|broken| format!("{name}: {broken}"))?;
            if let Some(deadline) = group.next_deadline()
                && self.wake_of.get(name).is_none_or(|wake| *wake > deadline)
            {
                return Err(format!("{name}: its deadline {deadline:?} is not armed"));
            }
        }
        Ok(())
    }

    fn ground(&self, at: At) -> Ground<'_> {
        Ground {
            at,
            settings: &self.settings,
            topics: &self.topics,
        }
    }

    fn call(&self, at: At, id: CallId, call: Call) -> Decision {
        let name = call.group().unwrap_or_default().to_owned();
        let group = self.groups.get(&name).unwrap_or(&None);
        let mut draft = Draft::new(self.ground(at), &name, group);
        match &call {
            Call::Join(call) => classic::join(&mut draft, id, call),
            Call::Sync(call) => classic::sync(&mut draft, id, call),
            Call::Heartbeat(call) => classic::heartbeat(&mut draft, id, call),
            Call::Leave(call) => classic::leave(&mut draft, id, call),
            Call::ConsumerHeartbeat(call) => consumer::heartbeat(&mut draft, id, call),
            Call::CommitOffsets(call) => offsets::commit(&mut draft, &self.offsets, id, call),
            Call::FetchOffsets(call) => offsets::fetch(&mut draft, &self.offsets, id, call),
            Call::DeleteOffsets(call) => offsets::delete(&mut draft, &self.offsets, id, call),
            Call::DescribeGroup { .. } => offsets::describe_group(&mut draft, &self.offsets, id),
            Call::DescribeConsumerGroup { .. } => consumer::describe(&mut draft, id),
            Call::DeleteGroup { .. } => offsets::delete_group(&mut draft, &self.offsets, id),
            Call::ListGroups(_) => {}
        }
        draft.finish()
    }

    fn tick(&self, at: At) -> Decision {
        let mut decision = Decision::default();
        for name in self.due(at) {
            let group = self.groups.get(name).unwrap_or(&None);
            let mut draft = Draft::new(self.ground(at), name, group);
            match group {
                Some(Group::Classic(_)) => classic::tick(&mut draft),
                Some(Group::Consumer(_)) => consumer::tick(&mut draft),
                None => {}
            }
            decision.append(draft.finish());
        }
        if self.next_expiry.is_some_and(|expiry| expiry <= at.moment) {
            decision.append(offsets::expire(self, self.ground(at)));
        }
        if self.has_deleted_topics {
            decision.append(offsets::forget_deleted_topics(self, self.ground(at)));
        }
        decision
    }

    fn topics_changed(&self, at: At) -> Decision {
        // The ticks that are due since `set_topics` deal with offsets of deleted topics.
        let mut decision = Decision::default();
        for (name, group) in &self.groups {
            if let Some(Group::Consumer(_)) = group {
                let mut draft = Draft::new(self.ground(at), name, group);
                consumer::topics_changed(&mut draft);
                decision.append(draft.finish());
            }
        }
        decision
    }

    /// Whether a tick had to leave offsets behind whose time is over: they are due at once.
    fn has_expired_offsets(&self, at: At) -> bool {
        let left = offsets::expire(self, self.ground(at)).changes;
        left.iter()
            .any(|change| matches!(change, Change::Record(Record::Offset { .. })))
    }

    fn due(&self, at: At) -> impl Iterator<Item = &str> {
        self.wakes
            .iter()
            .take_while(move |(moment, _)| *moment <= at.moment)
            .take(GROUPS_PER_TICK_MAX)
            .map(|(_, name)| name.as_str())
    }

    fn apply_one(&mut self, at: At, change: &Change) {
        if let Change::Record(Record::Offset { .. }) = change {
            self.offsets.apply(change);
            return;
        }
        let name = change.group().to_owned();
        let group = self.groups.entry(name.clone()).or_insert(None);
        group::apply(group, at, change);
        let deadline = group.as_ref().and_then(Group::next_deadline);
        if group.is_none() {
            self.groups.remove(&name);
            self.disarm(&name);
        } else if let Some(deadline) = deadline
            && self.wake_of.get(&name).is_none_or(|wake| *wake > deadline)
        {
            self.arm(&name, deadline);
        }
    }

    fn rearm(&mut self, name: &str) {
        self.disarm(name);
        if let Some(deadline) = self.group(name).and_then(Group::next_deadline) {
            self.arm(name, deadline);
        }
    }

    fn arm(&mut self, name: &str, moment: Moment) {
        self.disarm(name);
        self.wakes.insert((moment, name.to_owned()));
        self.wake_of.insert(name.to_owned(), moment);
    }

    fn disarm(&mut self, name: &str) {
        if let Some(moment) = self.wake_of.remove(name) {
            self.wakes.remove(&(moment, name.to_owned()));
        }
    }
}
