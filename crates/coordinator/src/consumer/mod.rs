//! The KIP-848 protocol.

use klamm_types::Moment;

use crate::call::{CallId, ConsumerHeartbeat, Heartbeat, Join, Leave, Sync};
use crate::draft::Draft;
use crate::record::Record;
use crate::settings::Settings;
use crate::shard::At;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transient {}

pub fn apply_record(_group: &mut Option<crate::group::Group>, _at: At, _record: &Record) {}
pub fn apply_transient(_group: &mut Option<crate::group::Group>, _at: At, _change: &Transient) {}

/// The partitions that a commit may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitScope {
    All,
}

impl CommitScope {
    pub fn check(&self, _topic: klamm_types::TopicId, _partition: i32) -> klamm_types::ErrorCode {
        klamm_types::ErrorCode::None
    }
}

impl Group {
    pub fn state(&self) -> &'static str {
        "Empty"
    }
    pub fn is_subscribed(&self, _topic: &str) -> bool {
        false
    }
    pub fn owner(&self, _topic: klamm_types::TopicId, _partition: i32) -> Option<&str> {
        None
    }
    pub fn tombstones(&self, _group: &str) -> Vec<Record> {
        Vec::new()
    }
    pub fn validate_commit(&self, _: &str, _: i32, _: i16) -> Result<CommitScope, klamm_types::ErrorCode> {
        Ok(CommitScope::All)
    }
    pub fn validate_fetch(&self, _: Option<&str>, _: i32) -> Result<(), klamm_types::ErrorCode> {
        Ok(())
    }
    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        true
    }
    pub fn start(&mut self, _at: At, _settings: &Settings) {}
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }
    pub fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

pub fn heartbeat(_draft: &mut Draft<'_>, _id: CallId, _call: &ConsumerHeartbeat) {}
pub fn describe(_draft: &mut Draft<'_>, _id: CallId) {}
pub fn tick(_draft: &mut Draft<'_>) {}
pub fn topics_changed(_draft: &mut Draft<'_>) {}

pub fn classic_join(_draft: &mut Draft<'_>, _id: CallId, _call: &Join) {}
pub fn classic_sync(_draft: &mut Draft<'_>, _id: CallId, _call: &Sync) {}
pub fn classic_heartbeat(_draft: &mut Draft<'_>, _id: CallId, _call: &Heartbeat) {}
pub fn classic_leave(_draft: &mut Draft<'_>, _id: CallId, _call: &Leave) {}
/// Tombstones for all records of the empty group.
pub fn remove_empty(_draft: &mut Draft<'_>) {}
