//! Committed offsets.
use crate::call::{CallId, CommitOffsets, DeleteOffsets, FetchOffsets, ListGroups};
use crate::change::Change;
use crate::draft::{Decision, Draft, Ground};
use crate::record::Committed;
use crate::shard::Shard;
use std::collections::BTreeMap;

/// By group, topic, partition.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    groups: BTreeMap<String, BTreeMap<String, BTreeMap<i32, Committed>>>,
}

pub fn commit(_draft: &mut Draft<'_>, _offsets: &Offsets, _id: CallId, _call: &CommitOffsets) {}
pub fn fetch(_draft: &mut Draft<'_>, _offsets: &Offsets, _id: CallId, _call: &FetchOffsets) {}
pub fn delete(_draft: &mut Draft<'_>, _offsets: &Offsets, _id: CallId, _call: &DeleteOffsets) {}
pub fn describe_group(_draft: &mut Draft<'_>, _offsets: &Offsets, _id: CallId) {}
pub fn delete_group(_draft: &mut Draft<'_>, _offsets: &Offsets, _id: CallId) {}
pub fn list_groups(_shard: &Shard, _id: CallId, _filter: &ListGroups) -> Decision {
    Decision::default()
}
pub fn expire(_shard: &Shard, _ground: Ground<'_>) -> Decision {
    Decision::default()
}
pub fn topics_changed(_shard: &Shard, _ground: Ground<'_>) -> Decision {
    Decision::default()
}
impl Offsets {
    pub fn apply(&mut self, _change: &Change) {}
}
