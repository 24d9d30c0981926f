//! The classic protocol.

use klamm_types::Moment;

use crate::call::{CallId, Heartbeat, Join, Leave, Sync};
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

impl Group {
    pub fn start(&mut self, _at: At, _settings: &Settings) {}
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }
    pub fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

pub fn join(_draft: &mut Draft<'_>, _id: CallId, _call: &Join) {}
pub fn sync(_draft: &mut Draft<'_>, _id: CallId, _call: &Sync) {}
pub fn heartbeat(_draft: &mut Draft<'_>, _id: CallId, _call: &Heartbeat) {}
pub fn leave(_draft: &mut Draft<'_>, _id: CallId, _call: &Leave) {}
pub fn tick(_draft: &mut Draft<'_>) {}
