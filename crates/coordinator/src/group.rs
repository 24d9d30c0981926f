//! What both kinds of group share: which kind a group is, how a change finds it, when it next needs attention.

use klamm_types::Moment;

use crate::change::{Change, Transient};
use crate::record::Record;
use crate::settings::Settings;
use crate::shard::At;
use crate::{classic, consumer};

/// A group with members, or one that had some. Groups that only have offsets are not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    Classic(classic::Group),
    Consumer(consumer::Group),
}

/// Changes a group; `None` is a group that does not exist. Changes to offsets leave it as it is.
pub fn apply(group: &mut Option<Group>, at: At, change: &Change) {
    match change {
        Change::Record(Record::Offset { .. }) => {}
        Change::Record(record @ Record::ClassicGroup { .. }) => classic::apply_record(group, at, record),
        Change::Record(record) => consumer::apply_record(group, at, record),
        Change::Transient { change, .. } => match change {
            Transient::Classic(change) => classic::apply_transient(group, at, change),
            Transient::Consumer(change) => consumer::apply_transient(group, at, change),
        },
    }
}

impl Group {
    /// The coordinator has just loaded the group: sessions of all members begin now.
    pub fn start(&mut self, at: At, settings: &Settings) {
        match self {
            Group::Classic(group) => group.start(at, settings),
            Group::Consumer(group) => group.start(at, settings),
        }
    }

    /// The coordinator has slept over a deadline: whoever is waited for gets the whole time again.
    pub fn restart_waits(&mut self, at: At, settings: &Settings) {
        match self {
            Group::Classic(group) => group.restart_waits(at, settings),
            Group::Consumer(group) => group.restart_waits(at, settings),
        }
    }

    /// When the group must be looked at though nobody calls.
    pub fn next_deadline(&self) -> Option<Moment> {
        match self {
            Group::Classic(group) => group.next_deadline(),
            Group::Consumer(group) => group.next_deadline(),
        }
    }

    /// What must hold after every change.
    pub fn validate(&self) -> Result<(), String> {
        match self {
            Group::Classic(group) => group.validate(),
            Group::Consumer(group) => group.validate(),
        }
    }
}
