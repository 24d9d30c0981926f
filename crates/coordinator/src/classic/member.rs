//! One member of a classic group: what it offers, what it owns, and which of its calls waits for an answer.

use std::time::Duration;

use bytes::Bytes;
use klamm_types::Moment;

use crate::call::CallId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub member: String,
    /// Of a static member.
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the member's order of preference, each name once. After a reload only the one that the group had chosen.
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    pub waits: Waits,
    pub age: Age,
    /// When the member is removed unless it is heard of; `None` while a call of it waits, which is a sign of life.
    pub session: Option<Moment>,
}

/// Which call of a member waits for an answer; at most one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    #[default]
    Nothing,
    Join(CallId),
    Sync(CallId),
}

/// Whether a member has ever been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Its first JoinGroup waits. It cannot send heartbeats, so its session is the longest wait that we allow.
    New,
    Known,
}

impl Member {
    /// What the member says under a protocol; nothing if it does not offer it.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        let (_, metadata) = self.protocols.iter().find(|(name, _)| name == protocol)?;
        Some(metadata)
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.metadata(protocol).is_some()
    }

    pub fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    pub fn awaits_join(&self) -> bool {
        matches!(self.waits, Waits::Join(_))
    }

    pub fn session_timeout(&self) -> Duration {
        milliseconds(self.session_timeout_ms)
    }

    pub fn rebalance_timeout(&self) -> Duration {
        milliseconds(self.rebalance_timeout_ms)
    }
}

fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
