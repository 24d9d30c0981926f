//! A classic group: its state, its members, and what others may ask of it. Nothing here decides.
//!
//! ```text
//!            first join             all joined, or time is up          the leader's SyncGroup
//!   Empty ─────────────► PreparingRebalance ─────────────► CompletingRebalance ─────────────► Stable
//!     ▲                      │      ▲  ▲                           │                             │
//!     └── nobody is left ────┘      │  └── a member changed or left ┘                            │
//!                                   └───────── a member joined, changed or left ─────────────────┘
//! ```
//!
//! `Dead` has no value: a group that is deleted is an absent group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, Moment, Timestamp};

use super::member::Member;

/// The protocol type of consumers, the only one whose metadata the coordinator reads.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub(super) state: State,
    /// When the state was entered, as the log has it.
    pub(super) state_since: Timestamp,
    pub(super) generation: i32,
    /// Of the first member; `None` in a group that never had one.
    pub(super) protocol_type: Option<String>,
    /// What the members of the generation agreed on; `None` before the first generation and when nobody is left.
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// By instance id: the member that holds it.
    pub(super) instances: BTreeMap<String, String>,
    /// Ids given out with MEMBER_ID_REQUIRED and not used yet, and when they lapse.
    pub(super) pending: BTreeMap<String, Moment>,
    /// Who has not asked for its assignment of this generation, and when it is removed for that.
    pub(super) unsynced: BTreeSet<String>,
    pub(super) sync_deadline: Option<Moment>,
    /// What the members of this generation subscribe to; `None` if that cannot be known.
    pub(super) subscribed: Option<Arc<BTreeSet<String>>>,
    /// When the rebalance under way began.
    pub(super) rebalancing_since: Option<Moment>,
    /// No session and no pending id ends before. Heartbeats leave it behind; a tick brings it up.
    pub(super) alarm: Option<Moment>,
}

/// See the drawing of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance(Preparing),
    CompletingRebalance,
    Stable,
}

/// Members are joining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparing {
    /// When the generation begins with those who have joined.
    pub deadline: Moment,
    /// Of a group that was empty: it waits though all have joined, for more are likely to come.
    pub initial: Option<InitialDelay>,
}

/// `group.initial.rebalance.delay.ms` at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialDelay {
    /// The wait that runs now.
    pub delay: Duration,
    /// By how much it may still be extended.
    pub remaining: Duration,
    /// Whether a member was added since it began, which extends it.
    pub member_added: bool,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            state: State::Empty,
            state_since: Timestamp::NONE,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_deadline: None,
            subscribed: None,
            rebalancing_since: None,
            alarm: None,
        }
    }
}

impl Group {
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Kafka's name of the state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::PreparingRebalance(_) => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    /// Whether nobody is in it; ids that were given out and not used do not count.
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    /// When it entered its state, by the last record; for an empty group that is what its offsets age by. -1 if unknown.
    pub fn state_since(&self) -> Timestamp {
        self.state_since
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// In order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, member: &str) -> Option<&Member> {
        self.members.get(member)
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// How many ids were given out with MEMBER_ID_REQUIRED and are not used yet.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The member that holds an instance id.
    pub fn static_member(&self, instance: &str) -> Option<&str> {
        self.instances.get(instance).map(String::as_str)
    }

    /// Whether its members speak the consumer protocol.
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// The topics of all subscriptions of this generation; `None` if the members are no consumers or cannot be read.
    pub fn subscribed_topics(&self) -> Option<&BTreeSet<String>> {
        self.subscribed.as_deref()
    }

    /// Whether somebody may read the topic: consumers whose subscription cannot be read may read any.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// Whether the member is who it says: an instance id that another member holds fences it.
    pub fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if holder != member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// Whether an OffsetCommit may pass. A generation of -1 without a member is a client outside of the group, and
    /// passes only while the group is empty.
    pub fn validate_commit(&self, member: &str, instance: Option<&str>, generation: i32) -> Result<(), ErrorCode> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation < 0 && member.is_empty() && instance.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(member, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        // The member has its generation, but not its partitions yet. Before that it still has those of the last one.
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// When the group must be looked at though nobody calls.
    pub fn next_deadline(&self) -> Option<Moment> {
        let joining = match &self.state {
            State::PreparingRebalance(preparing) => Some(preparing.deadline),
            _ => None,
        };
        [joining, self.sync_deadline, self.alarm].into_iter().flatten().min()
    }

    /// The longest that a member asks the others to wait for it.
    pub fn rebalance_timeout(&self) -> Duration {
        self.members
            .values()
            .map(Member::rebalance_timeout)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.awaits_join()).count()
    }

    pub(super) fn have_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(Member::awaits_join)
    }

    /// Whether a member with these protocols can be in the group: its type is the group's, and all others support
    /// one of them.
    pub(super) fn accepts_protocols<'a>(
        &self,
        protocol_type: &str,
        protocols: impl IntoIterator<Item = &'a str>,
    ) -> bool {
        let mut protocols = protocols.into_iter();
        if self.is_empty() {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.any(|name| self.members.values().all(|member| member.supports(name)))
    }

    /// The protocol with most votes: each member votes for the first of its own that all support. Of equals, the one
    /// that the leader likes best.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        let any = self.members.values().next()?;
        let common: BTreeSet<&str> = any
            .protocols
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| self.members.values().all(|member| member.supports(name)))
            .collect();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common.contains(name.as_str())) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let preferred = leader.unwrap_or(any).protocols.iter().map(|(name, _)| name.as_str());
        preferred
            .filter(|name| votes.get(name) == Some(&most))
            .map(str::to_owned)
            .next()
    }
}
