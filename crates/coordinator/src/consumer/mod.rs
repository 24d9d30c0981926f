//! The KIP-848 protocol.

use klamm_types::Moment;

use crate::call::{CallId, ConsumerHeartbeat};
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

pub fn heartbeat(_draft: &mut Draft<'_>, _id: CallId, _call: &ConsumerHeartbeat) {}
pub fn describe(_draft: &mut Draft<'_>, _id: CallId) {}
pub fn tick(_draft: &mut Draft<'_>) {}
pub fn topics_changed(_draft: &mut Draft<'_>) {}
