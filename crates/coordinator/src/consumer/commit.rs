//! Whether a member of a KIP-848 group may commit or fetch offsets now.
//!
//! A commit with an older epoch counts for the partitions that the member has had since that epoch (KIP-1251): it was
//! on its way when the epoch changed. For any other it is stale.

use klamm_types::{ErrorCode, TopicId};

use super::group::Group;
use super::member::Member;

/// The partitions that a commit may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitScope<'a> {
    All,
    /// Those which the member has held since this epoch.
    HeldSince {
        member: &'a Member,
        epoch: i32,
    },
}

impl CommitScope<'_> {
    /// `None`, or the error of this partition.
    pub fn check(&self, topic: TopicId, partition: i32) -> ErrorCode {
        let CommitScope::HeldSince { member, epoch } = self else {
            return ErrorCode::None;
        };
        let find = |held: &crate::record::AssignedPartitions| held.get(&topic)?.get(&partition).copied();
        match find(&member.assigned).or_else(|| find(&member.pending)) {
            Some(since) if since <= *epoch => ErrorCode::None,
            _ => stale(member),
        }
    }
}

impl Group {
    /// OffsetCommit of `member`. `version` is that of the API.
    pub fn validate_commit(&self, member: &str, epoch: i32, version: i16) -> Result<CommitScope<'_>, ErrorCode> {
        if epoch < 0 && self.is_empty() {
            return Ok(CommitScope::All);
        }
        let member = self.members.get(member).ok_or(ErrorCode::UnknownMemberId)?;
        if version < 9 && !member.is_classic() {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match epoch.cmp(&member.epoch) {
            std::cmp::Ordering::Equal => Ok(CommitScope::All),
            std::cmp::Ordering::Greater => Err(stale(member)),
            std::cmp::Ordering::Less => Ok(CommitScope::HeldSince { member, epoch }),
        }
    }

    /// OffsetFetch: `None` with -1 is a client without membership.
    pub fn validate_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let Some(member) = member else {
            return if epoch < 0 {
                Ok(())
            } else {
                Err(ErrorCode::UnknownMemberId)
            };
        };
        let member = self.members.get(member).ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == member.epoch {
            Ok(())
        } else {
            Err(stale(member))
        }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    }
}
