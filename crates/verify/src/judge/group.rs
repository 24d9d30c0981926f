//! How far a group is in one partition. It may get records again after a rebalance, from its committed offset on; it may
//! not pass over any, and not go back behind what it has committed.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Member {
    /// What was committed when the member got the partition.
    committed: i64,
    /// `None` until its first record.
    next: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The first offset that no member has read.
    pub frontier: i64,
    /// The largest offset whose commit was acknowledged.
    pub committed: i64,
    members: BTreeMap<u32, Member>,
}

/// What a member's record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Went from here to an earlier offset, or to the same.
    pub back_from: Option<i64>,
    /// Passed over everything from here up to the record.
    pub skipped_from: Option<i64>,
    pub redelivered: bool,
}

impl Group {
    pub fn new(start: i64) -> Group {
        Group {
            frontier: start,
            committed: start,
            members: BTreeMap::new(),
        }
    }

    pub fn assigned(&mut self, member: u32) {
        let committed = self.committed;
        self.members.insert(member, Member { committed, next: None });
    }

    pub fn revoked(&mut self, member: u32) {
        self.members.remove(&member);
    }

    pub fn committed(&mut self, offset: i64) {
        self.committed = self.committed.max(offset);
    }

    /// The log ends at this offset from now on, and so does what was read and committed of it.
    pub fn cut(&mut self, offset: i64) {
        (self.frontier, self.committed) = (self.frontier.min(offset), self.committed.min(offset));
        for member in self.members.values_mut() {
            member.committed = member.committed.min(offset);
            member.next = member.next.map(|next| next.min(offset));
        }
    }

    pub fn read(&mut self, member: u32, offset: i64) -> Step {
        let committed = self.committed;
        let member = self.members.entry(member).or_insert(Member { committed, next: None });
        let mut step = Step {
            redelivered: offset < self.frontier,
            ..Step::default()
        };
        match member.next {
            Some(next) if offset < next => step.back_from = Some(next - 1),
            Some(next) if offset > next => step.skipped_from = Some(next),
            None if offset < member.committed => step.back_from = Some(member.committed),
            // Where the committed offset is not known for sure, nothing beyond what somebody has read may be it.
            None if offset > self.frontier => step.skipped_from = Some(self.frontier),
            _ => {}
        }
        member.next = Some(offset + 1);
        self.frontier = self.frontier.max(offset + 1);
        step
    }
}
