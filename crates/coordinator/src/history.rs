//! Why a group did what it did: entries of the topic `__klamm_group_history`.
//!
//! The topic is compacted. A group has a fixed number of slots in it, which its entries fill in a ring: so it keeps the
//! last entries of every group and cannot grow with time. Best effort: a lost entry harms nobody.
//!
//! * [`bytes`]: an entry as the topic has it;
//! * [`ring`]: which slot an entry takes, and which entries have had their time;
//! * [`render`]: entries for people;
//! * [`unowned`]: when partitions have had no owner for too long.

pub mod bytes;
#[cfg(test)]
mod history_test;
pub mod render;
pub mod ring;
pub mod unowned;

use klamm_types::Timestamp;
use serde::{Deserialize, Serialize};

pub use ring::History;
pub use unowned::Watch;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub group: String,
    pub at: Timestamp,
    pub happened: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happened {
    MemberJoined {
        member: String,
        client_id: String,
        client_host: String,
    },
    /// The member said so.
    MemberLeft {
        member: String,
        reason: Option<String>,
    },
    MemberRemoved {
        member: String,
        cause: Removal,
    },
    RebalanceStarted {
        cause: String,
    },
    /// With the time from its start, and what came out.
    RebalanceEnded {
        generation: i32,
        members: usize,
        took_ms: i64,
    },
    /// Partitions with committed offsets have had no owner for a while.
    Unowned {
        topic: String,
        partitions: Vec<i32>,
        #[serde(with = "bytes::milliseconds", rename = "since_ms")]
        since: Timestamp,
    },
}

/// Why the coordinator removed a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    SessionExpired,
    /// It did not join again in time.
    RebalanceTimedOut,
    /// It did not fetch or send its assignment in time.
    SyncTimedOut,
    /// It did not give its partitions up in time.
    RevocationTimedOut,
    /// Another process took its instance id.
    Replaced,
    /// By an operator.
    Administered,
    /// It came back to a group that is full without it.
    GroupFull,
}
