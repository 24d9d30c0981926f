//! What must hold of a classic group after every change, and what a freshly loaded one begins with.

use klamm_types::Moment;

use super::group::{Group, Preparing, State};
use super::member::{Age, Member, Waits};
use crate::settings::Settings;
use crate::shard::At;

impl Group {
    /// The coordinator has just loaded the group: all sessions begin now. A group that has become too large for the
    /// settings rebalances, which lets members commit before the last are turned away.
    pub fn start(&mut self, at: At, settings: &Settings) {
        for member in self.members.values_mut() {
            member.session = Some(at.moment + member.session_timeout());
        }
        if self.members.len() > settings.members_max {
            self.state = State::PreparingRebalance(Preparing {
                deadline: at.moment + self.rebalance_timeout(),
                initial: None,
            });
            self.state_since = at.wall;
            self.rebalancing_since = Some(at.moment);
        }
        self.reset_alarm();
    }

    /// See [`crate::group::Group::restart_waits`]. A member whose call waits has no session, and gets none.
    pub fn restart_waits(&mut self, at: At, settings: &Settings) {
        for member in self.members.values_mut() {
            let whole = at.moment + member.session_timeout();
            // That of a member whose first JoinGroup waits is longer.
            member.session = member.session.map(|session| session.max(whole));
        }
        for lapse in self.pending.values_mut() {
            *lapse = (*lapse).max(at.moment + settings.session_timeout_min);
        }
        let rebalance = self.rebalance_timeout();
        self.sync_deadline = self.sync_deadline.map(|sync| sync.max(at.moment + rebalance));
        if let State::PreparingRebalance(preparing) = &mut self.state {
            let whole = preparing.initial.as_ref().map_or(rebalance, |initial| initial.delay);
            preparing.deadline = preparing.deadline.max(at.moment + whole);
        }
        self.reset_alarm();
    }

    /// What must hold after every change.
    pub fn validate(&self) -> Result<(), String> {
        self.validate_state()?;
        self.validate_names()?;
        for member in self.members.values() {
            self.validate_member(member)
                .map_err(|broken| format!("member {}: {broken}", member.member))?;
        }
        Ok(())
    }

    fn validate_state(&self) -> Result<(), String> {
        let joining = matches!(self.state, State::PreparingRebalance(_));
        let generation = matches!(self.state, State::CompletingRebalance | State::Stable);
        ensure(
            self.is_empty() == self.members.is_empty() || joining,
            "empty if and only if nobody is in it",
        )?;
        ensure(self.generation >= 0, "the generation is not negative")?;
        ensure(!generation || self.generation > 0, "a generation has begun")?;
        ensure(
            !generation || self.protocol.is_some(),
            "members of a generation agree on a protocol",
        )?;
        ensure(
            !self.is_empty() || self.protocol.is_none(),
            "an empty group has no protocol",
        )?;
        ensure(
            self.members.is_empty() || self.protocol_type.is_some(),
            "members have a protocol type",
        )?;
        ensure(
            self.leader.is_some() != self.members.is_empty(),
            "members have a leader",
        )?;
        ensure(
            self.unsynced.is_empty() == self.sync_deadline.is_none(),
            "who must sync has a deadline",
        )?;
        ensure(self.unsynced.is_empty() || generation, "one syncs in a generation")?;
        ensure(
            self.rebalancing_since.is_some() == (joining || self.state == State::CompletingRebalance),
            "a rebalance under way has a beginning",
        )
    }

    fn validate_names(&self) -> Result<(), String> {
        if let Some(leader) = &self.leader {
            ensure(self.members.contains_key(leader), "the leader is a member")?;
        }
        for member in &self.unsynced {
            ensure(self.members.contains_key(member), "who must sync is a member")?;
        }
        for (member, deadline) in &self.pending {
            ensure(!self.members.contains_key(member), "a pending id is no member's")?;
            ensure(
                self.alarm.is_some_and(|alarm| alarm <= *deadline),
                "pending ids lapse in time",
            )?;
        }
        for (instance, member) in &self.instances {
            let holder = self.members.get(member).and_then(|member| member.instance.as_ref());
            ensure(holder == Some(instance), "who holds an instance id says so")?;
        }
        let with_instance = self.members.values().filter(|member| member.is_static()).count();
        ensure(with_instance == self.instances.len(), "an instance id has one holder")
    }

    fn validate_member(&self, member: &Member) -> Result<(), String> {
        let ends_in_time = |session: Moment| self.alarm.is_some_and(|alarm| alarm <= session);
        ensure(member.session.is_none_or(ends_in_time), "its session ends in time")?;
        ensure(!member.protocols.is_empty(), "it offers a protocol")?;
        match (member.waits, member.age) {
            (Waits::Nothing | Waits::Join(_), Age::New) | (Waits::Nothing, Age::Known) => {
                ensure(member.session.is_some(), "its session ends")?;
            }
            (_, Age::Known) => ensure(member.session.is_none(), "a wait is a sign of life")?,
            (Waits::Sync(_), Age::New) => return Err("it syncs before it joined".to_owned()),
        }
        match self.state {
            State::Empty => Err("it is in an empty group".to_owned()),
            State::PreparingRebalance(_) => ensure(!matches!(member.waits, Waits::Sync(_)), "it does not sync yet"),
            State::CompletingRebalance => self.validate_in_generation(member),
            State::Stable => {
                ensure(member.waits == Waits::Nothing, "it has been answered")?;
                self.validate_in_generation(member)
            }
        }
    }

    fn validate_in_generation(&self, member: &Member) -> Result<(), String> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        ensure(member.supports(protocol), "it supports the protocol of its generation")?;
        ensure(!member.awaits_join(), "it has joined")?;
        ensure(member.age == Age::Known, "it has been told its id")?;
        let synced = !self.unsynced.contains(&member.member);
        ensure(
            synced || member.waits == Waits::Nothing,
            "who waits for its assignment has asked for it",
        )
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {what}")) }
}
