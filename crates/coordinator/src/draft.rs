//! A decision in the making: what it rests on, the group as its changes so far leave it, and what it will answer.
//!
//! A handler reads `draft.group()`, pushes changes, reads again. Changes are applied to a copy of the group, made only
//! when a handler reads after it has changed something, so a heartbeat copies nothing.

use std::borrow::Cow;

use crate::call::CallId;
use crate::change::{Change, Transient};
use crate::group::{self, Group};
use crate::history;
use crate::record::Record;
use crate::reply::Reply;
use crate::settings::Settings;
use crate::shard::At;
use crate::topics::Topics;

/// What an event leads to. Nothing of it holds until the runtime has appended the records and applied the changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// In order.
    pub changes: Vec<Change>,
    /// Sent when the records of this decision, and all appended before them, are committed. They may answer calls
    /// of earlier events.
    pub replies: Vec<(CallId, Reply)>,
    /// For the group's history; best effort, after the commit.
    pub history: Vec<history::Entry>,
}

impl Decision {
    /// Both, one after the other.
    pub fn append(&mut self, mut other: Decision) {
        self.changes.append(&mut other.changes);
        self.replies.append(&mut other.replies);
        self.history.append(&mut other.history);
    }
}

/// See the module.
pub struct Draft<'a> {
    pub at: At,
    pub settings: &'a Settings,
    pub topics: &'a Topics,
    name: &'a str,
    origin: &'a Option<Group>,
    group: Cow<'a, Option<Group>>,
    /// How many of `decision.changes` are in `group`.
    applied: usize,
    decision: Decision,
}

/// What all drafts of one event share.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub at: At,
    pub settings: &'a Settings,
    pub topics: &'a Topics,
}

impl<'a> Draft<'a> {
    pub fn new(ground: Ground<'a>, name: &'a str, group: &'a Option<Group>) -> Draft<'a> {
        Draft {
            at: ground.at,
            settings: ground.settings,
            topics: ground.topics,
            name,
            origin: group,
            group: Cow::Borrowed(group),
            applied: 0,
            decision: Decision::default(),
        }
    }

    /// The name of the group.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The group as the event found it. Costs nothing, and the draft can be changed while it is looked at.
    pub fn before(&self) -> Option<&'a Group> {
        self.origin.as_ref()
    }

    /// Nothing was decided: whatever the draft holds is forgotten.
    pub fn abandon(&mut self) {
        self.group = Cow::Borrowed(self.origin);
        self.applied = 0;
        self.decision = Decision::default();
    }

    /// The group with all changes so far.
    pub fn group(&mut self) -> Option<&Group> {
        if self.applied < self.decision.changes.len() {
            let working = self.group.to_mut();
            for change in &self.decision.changes[self.applied..] {
                group::apply(working, self.at, change);
            }
            self.applied = self.decision.changes.len();
        }
        self.group.as_ref().as_ref()
    }

    pub fn record(&mut self, record: Record) {
        self.decision.changes.push(Change::Record(record));
    }

    pub fn transient(&mut self, change: Transient) {
        let group = self.name.to_owned();
        self.decision.changes.push(Change::Transient { group, change });
    }

    pub fn reply(&mut self, call: CallId, reply: Reply) {
        self.decision.replies.push((call, reply));
    }

    pub fn history(&mut self, happened: history::Happened) {
        self.decision.history.push(history::Entry {
            group: self.name.to_owned(),
            at: self.at.wall,
            happened,
        });
    }

    pub fn finish(self) -> Decision {
        self.decision
    }
}
