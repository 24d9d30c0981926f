//! One member of a KIP-848 group: what it said of itself, and where it stands on its way to its target.
//!
//! How it moves on is in `reconcile.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use klamm_types::TopicId;

use crate::record::{AssignedPartitions, ClassicMemberMetadata, ConsumerCurrent, ConsumerMember};
use crate::settings::Settings;

/// The member epoch of one that has left for good.
pub const LEFT: i32 = -1;
/// The member epoch of a static member that has left for a while.
pub const LEFT_FOR_A_WHILE: i32 = -2;

/// ```text
///            new target                       gave them up
///  Stable ───────────────► Unrevoked ───────────────────────┐
///    ▲  └──── nothing to revoke ───────► next epoch ◄───────┘
///    │                                       │ others still hold some
///    └──────────── all are here ──────── Unreleased
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    Stable,
    /// Has partitions to give up before it may enter the next epoch.
    Unrevoked,
    /// Waits for partitions that others still hold.
    Unreleased,
    /// Of a record that a later version has written.
    Unknown(i8),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_names: BTreeSet<String>,
    /// Empty: none.
    pub subscribed_regex: String,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<String>,
    pub classic: Option<ClassicMemberMetadata>,
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    /// With the member epoch at which each was assigned.
    pub assigned: AssignedPartitions,
    /// To be given up.
    pub pending: AssignedPartitions,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            instance: None,
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            subscribed_names: BTreeSet::new(),
            subscribed_regex: String::new(),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: AssignedPartitions::new(),
            pending: AssignedPartitions::new(),
        }
    }
}

impl Member {
    pub fn is_classic(&self) -> bool {
        self.classic.is_some()
    }

    /// The pattern that it subscribes by.
    pub fn pattern(&self) -> Option<&str> {
        (!self.subscribed_regex.is_empty()).then_some(self.subscribed_regex.as_str())
    }

    /// Whether it is where targets of this epoch want it.
    pub(super) fn is_settled(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// All partitions that nobody else may be given.
    pub fn held(&self) -> impl Iterator<Item = (TopicId, i32)> {
        let both = self.assigned.iter().chain(self.pending.iter());
        both.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
    }

    pub(super) fn session_timeout(&self, settings: &Settings) -> Duration {
        match &self.classic {
            Some(classic) => milliseconds(classic.session_timeout_ms),
            None => settings.consumer_session_timeout,
        }
    }

    pub(super) fn rebalance_timeout(&self) -> Duration {
        milliseconds(self.rebalance_timeout_ms)
    }

    /// The protocol by which a classic member is answered, and its subscription: its first choice.
    pub(super) fn classic_protocol(&self) -> Option<&(String, Bytes)> {
        self.classic.as_ref()?.protocols.first()
    }

    /// For its record of type 5.
    pub(super) fn metadata(&self) -> ConsumerMember {
        ConsumerMember {
            instance: self.instance.clone(),
            rack: self.rack.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_names: self.subscribed_names.iter().cloned().collect(),
            subscribed_regex: Some(self.subscribed_regex.clone()),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.server_assignor.clone(),
            classic: self.classic.clone(),
        }
    }

    pub(super) fn set_metadata(&mut self, value: &ConsumerMember) {
        self.instance.clone_from(&value.instance);
        self.rack.clone_from(&value.rack);
        self.client_id.clone_from(&value.client_id);
        self.client_host.clone_from(&value.client_host);
        self.subscribed_names = value.subscribed_names.iter().cloned().collect();
        self.subscribed_regex = value.subscribed_regex.clone().unwrap_or_default();
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor.clone_from(&value.server_assignor);
        self.classic.clone_from(&value.classic);
    }

    /// For its record of type 8.
    pub(super) fn current(&self) -> ConsumerCurrent {
        ConsumerCurrent {
            epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            state: self.state.number(),
            assigned: self.assigned.clone(),
            pending_revocation: self.pending.clone(),
        }
    }

    pub(super) fn set_current(&mut self, value: &ConsumerCurrent) {
        self.epoch = value.epoch;
        self.previous_epoch = value.previous_epoch;
        self.state = MemberState::from_number(value.state);
        self.assigned.clone_from(&value.assigned);
        self.pending.clone_from(&value.pending_revocation);
    }
}

impl MemberState {
    fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown(number) => number,
        }
    }

    fn from_number(number: i8) -> MemberState {
        match number {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            other => MemberState::Unknown(other),
        }
    }
}

fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
