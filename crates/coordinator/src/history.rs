//! Why a group did what it did: entries of the topic `__klamm_group_history`.

use klamm_types::Timestamp;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub group: String,
    pub at: Timestamp,
    pub happened: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        since: Timestamp,
    },
}

/// Why the coordinator removed a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
