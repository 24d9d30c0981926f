//! I12: an acknowledged offset of a group is not forgotten, and none is made up.
//!
//! Whoever asks for a committed offset gets at least what was acknowledged before it asked, and at most what somebody
//! tried to commit. A member that owns a partition may go back itself (its records are gone, or it was told an old offset
//! by a coordinator that is deposed and does not know it) and commit less: from then on less is due, because nobody can
//! say whether the smaller commit is taken before its answer comes, or ever. So it is exactly what can be known.
//!
//! Not so once the partition is another member's: generations and member epochs fence. A commit that is sent after
//! somebody else was given the partition in a newer one cannot be taken. It lowers nothing, and if it is taken all the
//! same, the next answer shows it.

use std::collections::BTreeMap;

use klamm_types::Offset;

use crate::{Broken, Invariant, broken};

/// Of one group.
#[derive(Clone, Debug, Default)]
pub struct CommittedOffsetsKept {
    acknowledged: BTreeMap<i32, Offset>,
    tried: BTreeMap<i32, Offset>,
    /// Who was given a partition last.
    owners: BTreeMap<i32, (i32, String)>,
}

/// Who commits: a member, in a generation or member epoch of the group.
#[derive(Clone, Copy, Debug)]
pub struct Committer<'a> {
    pub member: &'a str,
    pub epoch: i32,
}

impl CommittedOffsetsKept {
    /// A member takes the partition for its own.
    pub fn owned(&mut self, partition: i32, by: Committer<'_>) {
        let owner = self.owners.entry(partition).or_insert((by.epoch, by.member.to_owned()));
        if owner.0 < by.epoch {
            *owner = (by.epoch, by.member.to_owned());
        }
    }

    /// A member asks for this commit.
    pub fn tried(&mut self, partition: i32, offset: Offset, by: Committer<'_>) {
        let fenced = |(epoch, owner): &(i32, String)| *epoch > by.epoch && owner != by.member;
        if self.owners.get(&partition).is_some_and(fenced) {
            return;
        }
        if let Some(acknowledged) = self.acknowledged.get_mut(&partition) {
            *acknowledged = offset.min(*acknowledged);
        }
        let known = self.tried.entry(partition).or_default();
        *known = offset.max(*known);
    }

    /// A member hears that its commit is taken.
    pub fn acknowledged(&mut self, partition: i32, offset: Offset) {
        let known = self.acknowledged.entry(partition).or_default();
        *known = offset.max(*known);
    }

    /// What is acknowledged by now; whoever asks now may be told no less.
    pub fn due(&self, partition: i32) -> Offset {
        self.acknowledged.get(&partition).copied().unwrap_or_default()
    }

    /// A member is told a committed offset; `due` was acknowledged when it asked.
    ///
    /// # Errors
    /// It is older, or nobody committed it.
    pub fn fetched(&self, partition: i32, offset: Offset, due: Offset) -> Result<(), Broken> {
        let tried = self.tried.get(&partition).copied().unwrap_or_default();
        if offset < due {
            let what = format!("partition {partition}: {offset} is told as committed, acknowledged was {due}");
            return broken(Invariant::CommittedOffsetsKept, what);
        }
        if offset > tried {
            let what = format!("partition {partition}: {offset} is told as committed, nobody went beyond {tried}");
            return broken(Invariant::CommittedOffsetsKept, what);
        }
        Ok(())
    }
}
