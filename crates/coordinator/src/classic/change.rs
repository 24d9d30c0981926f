//! What changes a classic group: its record, and what only this coordinator knows. The only writer of a group.
//!
//! A record says what the group has agreed on; who waits, whose session ends when and which ids are given out come
//! with [`Transient`]s and stay when a record arrives.

use std::sync::Arc;

use klamm_types::{Moment, Timestamp};

use super::group::{Group, Preparing, State};
use super::member::{Age, Member, Waits};
use super::subscription;
use crate::call::CallId;
use crate::group::Group as AnyGroup;
use crate::record::{ClassicGroup, Record};
use crate::shard::At;

/// What dies with this coordinator. Times count from the moment of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transient {
    /// An id was given out with MEMBER_ID_REQUIRED.
    PendingAdded {
        member: String,
        deadline: Moment,
    },
    PendingRemoved {
        member: String,
    },
    /// Of the first member.
    ProtocolTypeSet {
        protocol_type: String,
    },
    /// A member is added, or is this from now on. The first one leads.
    MemberSet(Box<Member>),
    /// If it led, the next one leads.
    MemberRemoved {
        member: String,
    },
    /// The static member `from` is `to` from now on, and known.
    MemberRenamed {
        from: String,
        to: String,
    },
    LeaderChosen {
        member: String,
    },
    /// A sign of life: the session begins anew.
    Seen {
        member: String,
    },
    /// The member asked for its assignment, and waits for it if there is a call.
    Synced {
        member: String,
        waits: Option<CallId>,
    },
    /// The JoinGroup of the member is answered.
    JoinAnswered {
        member: String,
    },
    /// All who waited for their assignment are answered.
    SyncsAnswered,
    /// A rebalance began before the assignments of this generation were known.
    AssignmentsDropped,
    Preparing(Preparing),
    /// All members are to ask for their assignments. Their JoinGroups are answered.
    GenerationBegun {
        generation: i32,
        protocol: String,
        sync_deadline: Moment,
    },
    /// What was due has been dealt with.
    AlarmReset,
}

/// A [`Record::ClassicGroup`], from the log or just decided.
pub fn apply_record(group: &mut Option<AnyGroup>, at: At, record: &Record) {
    let Record::ClassicGroup { value, .. } = record else {
        return;
    };
    // A compacted log may tell of the end of a group after it has told of the next one, of the other kind.
    if value.is_none() && matches!(group, Some(AnyGroup::Consumer(_))) {
        return;
    }
    let former = match group.take() {
        Some(AnyGroup::Classic(former)) => Some(former),
        Some(AnyGroup::Consumer(_)) | None => None,
    };
    *group = value
        .as_ref()
        .map(|value| AnyGroup::Classic(from_record(value, former, at)));
}

pub fn apply_transient(group: &mut Option<AnyGroup>, at: At, change: &Transient) {
    if let Some(AnyGroup::Classic(group)) = group {
        group.change(at, change);
    }
}

fn from_record(value: &ClassicGroup, former: Option<Group>, at: At) -> Group {
    let mut former = former.unwrap_or_default();
    let mut group = Group {
        state: if value.members.is_empty() {
            State::Empty
        } else {
            State::Stable
        },
        state_since: Timestamp(value.state_timestamp),
        generation: value.generation,
        protocol_type: Some(value.protocol_type.clone()).filter(|name| !name.is_empty()),
        protocol: value.protocol.clone(),
        leader: value.leader.clone(),
        pending: former.pending,
        ..Group::default()
    };
    for recorded in &value.members {
        let mut member = Member {
            member: recorded.member.clone(),
            instance: recorded.instance.clone(),
            client_id: recorded.client_id.clone(),
            client_host: recorded.client_host.clone(),
            // The oldest records lack it.
            rebalance_timeout_ms: match recorded.rebalance_timeout_ms {
                -1 => recorded.session_timeout_ms,
                timeout => timeout,
            },
            session_timeout_ms: recorded.session_timeout_ms,
            protocols: vec![(
                value.protocol.clone().unwrap_or_default(),
                recorded.subscription.clone(),
            )],
            assignment: recorded.assignment.clone(),
            waits: Waits::Nothing,
            age: Age::Known,
            session: None,
        };
        member.session = Some(at.moment + member.session_timeout());
        if let Some(present) = former.members.remove(&recorded.member) {
            (member.waits, member.age, member.session) = (present.waits, present.age, present.session);
            let (protocol, metadata) = &member.protocols[0];
            if present.metadata(protocol) == Some(metadata) {
                member.protocols = present.protocols;
            }
        }
        group.insert(member);
    }
    if former.generation == group.generation {
        group.unsynced = former.unsynced;
        group.unsynced.retain(|member| group.members.contains_key(member));
        group.sync_deadline = former.sync_deadline.filter(|_| !group.unsynced.is_empty());
    }
    group.subscribed = subscription::subscribed_topics(&group).map(Arc::new);
    group.reset_alarm();
    group
}

impl Group {
    fn change(&mut self, at: At, change: &Transient) {
        match change {
            Transient::PendingAdded { member, deadline } => {
                self.pending.insert(member.clone(), *deadline);
                self.lower_alarm(*deadline);
            }
            Transient::PendingRemoved { member } => {
                self.pending.remove(member);
            }
            Transient::ProtocolTypeSet { protocol_type } => self.protocol_type = Some(protocol_type.clone()),
            Transient::MemberSet(member) => self.set(member),
            Transient::MemberRemoved { member } => self.remove(member),
            Transient::MemberRenamed { from, to } => self.rename(at, from, to),
            Transient::LeaderChosen { member } => self.leader = Some(member.clone()),
            Transient::Seen { member } => self.seen(at, member),
            Transient::Synced { member, waits } => self.synced(member, *waits),
            Transient::JoinAnswered { member } => self.answered(at, member),
            Transient::SyncsAnswered => self.syncs_answered(at),
            Transient::AssignmentsDropped => {
                for member in self.members.values_mut() {
                    member.assignment.clear();
                }
            }
            Transient::Preparing(preparing) => self.prepare(at, preparing),
            Transient::GenerationBegun {
                generation,
                protocol,
                sync_deadline,
            } => {
                self.generation = *generation;
                self.protocol = Some(protocol.clone());
                self.sync_deadline = Some(*sync_deadline);
                self.begin_generation(at);
            }
            Transient::AlarmReset => self.reset_alarm(),
        }
    }

    fn insert(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.member.clone());
        }
        self.members.insert(member.member.clone(), member);
    }

    fn set(&mut self, member: &Member) {
        self.pending.remove(&member.member);
        if self.leader.is_none() {
            self.leader = Some(member.member.clone());
        }
        if let Some(session) = member.session {
            self.lower_alarm(session);
        }
        self.insert(member.clone());
    }

    fn remove(&mut self, member: &str) {
        self.unsynced.remove(member);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
        if let Some(instance) = self.members.remove(member).and_then(|member| member.instance) {
            self.instances.remove(&instance);
        }
        if self.is_leader(member) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn rename(&mut self, at: At, from: &str, to: &str) {
        let Some(mut member) = self.members.remove(from) else {
            return;
        };
        if self.unsynced.remove(from) {
            self.unsynced.insert(to.to_owned());
        }
        if self.is_leader(from) {
            self.leader = Some(to.to_owned());
        }
        to.clone_into(&mut member.member);
        (member.waits, member.age) = (Waits::Nothing, Age::Known);
        let session = at.moment + member.session_timeout();
        member.session = Some(session);
        self.lower_alarm(session);
        self.insert(member);
    }

    fn seen(&mut self, at: At, member: &str) {
        if let Some(member) = self.members.get_mut(member)
            && member.waits == Waits::Nothing
        {
            let session = at.moment + member.session_timeout();
            member.session = Some(session);
            self.lower_alarm(session);
        }
    }

    fn synced(&mut self, member: &str, waits: Option<CallId>) {
        self.unsynced.remove(member);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
        if let Some(member) = self.members.get_mut(member)
            && let Some(call) = waits
        {
            member.waits = Waits::Sync(call);
            member.session = None;
        }
    }

    fn answered(&mut self, at: At, member: &str) {
        if let Some(member) = self.members.get_mut(member) {
            member.waits = Waits::Nothing;
            member.age = Age::Known;
        }
        self.seen(at, member);
    }

    fn syncs_answered(&mut self, at: At) {
        let mut earliest = None;
        for member in self.members.values_mut() {
            if let Waits::Sync(_) = member.waits {
                member.waits = Waits::Nothing;
                member.session = Some(at.moment + member.session_timeout());
                earliest = [earliest, member.session].into_iter().flatten().min();
            }
        }
        if let Some(earliest) = earliest {
            self.lower_alarm(earliest);
        }
    }

    fn prepare(&mut self, at: At, preparing: &Preparing) {
        if !matches!(self.state, State::PreparingRebalance(_)) {
            self.state_since = at.wall;
        }
        self.state = State::PreparingRebalance(preparing.clone());
        self.unsynced.clear();
        self.sync_deadline = None;
        self.rebalancing_since.get_or_insert(at.moment);
    }

    fn begin_generation(&mut self, at: At) {
        self.state = State::CompletingRebalance;
        self.state_since = at.wall;
        self.unsynced = self.members.keys().cloned().collect();
        for member in self.members.values_mut() {
            member.waits = Waits::Nothing;
            member.age = Age::Known;
            member.session = Some(at.moment + member.session_timeout());
        }
        self.subscribed = subscription::subscribed_topics(self).map(Arc::new);
        self.reset_alarm();
    }

    fn lower_alarm(&mut self, moment: Moment) {
        self.alarm = Some(self.alarm.map_or(moment, |alarm| alarm.min(moment)));
    }

    pub(super) fn reset_alarm(&mut self) {
        let sessions = self.members.values().filter_map(|member| member.session);
        self.alarm = sessions.chain(self.pending.values().copied()).min();
    }
}
