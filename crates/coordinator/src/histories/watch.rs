//! What must hold in every history, seen from outside of the coordinator.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::ErrorCode;

use super::member::Claim;
use crate::call::{Call, CallId, Sync};
use crate::classic;
use crate::group::Group;
use crate::reply::Reply;

/// Collects what members heard and did.
#[derive(Default)]
pub struct Watch {
    /// Who was given a partition in an epoch.
    owners: BTreeMap<(i32, i32), String>,
    /// By partition: all before it has been processed by somebody.
    processed: BTreeMap<i32, i64>,
    /// By partition: the commits that were acknowledged reach so far.
    acknowledged: BTreeMap<i32, i64>,
    /// Calls that this coordinator has answered.
    answered: BTreeSet<CallId>,
}

impl Watch {
    /// One owner per partition and epoch.
    pub fn claimed(&mut self, claim: &Claim) {
        for &partition in &claim.partitions {
            let owner = self
                .owners
                .entry((claim.epoch, partition))
                .or_insert_with(|| claim.owner.clone());
            assert_eq!(
                *owner, claim.owner,
                "partition {partition} has two owners in epoch {}",
                claim.epoch
            );
        }
    }

    /// The group is another one, of the same name: it was empty, and its kind changed.
    pub fn epochs_begin_anew(&mut self) {
        self.owners.clear();
    }

    /// No record is left out.
    pub fn processed(&mut self, partition: i32, offset: i64) {
        let reached = self.processed.entry(partition).or_default();
        assert!(
            offset <= *reached,
            "partition {partition}: {offset} is processed, but nothing since {reached}"
        );
        *reached = (*reached).max(offset + 1);
    }

    /// All records that were processed so far.
    pub fn processed_count(&self) -> i64 {
        self.processed.values().sum()
    }

    /// A call is answered once.
    pub fn answered(&mut self, call: CallId) {
        assert!(self.answered.insert(call), "{call:?} is answered twice");
    }

    /// An answer has reached its member.
    pub fn heard(&mut self, call: &Call, reply: &Reply) {
        match (call, reply) {
            (Call::CommitOffsets(call), Reply::CommitOffsets(committed)) => {
                let asked = call.topics.iter().flat_map(|topic| &topic.partitions);
                let told = committed.iter().flat_map(|topic| &topic.partitions);
                for (asked, (_, error)) in asked.zip(told) {
                    if *error == ErrorCode::None {
                        let reached = self.acknowledged.entry(asked.partition).or_default();
                        *reached = (*reached).max(asked.offset);
                    }
                }
            }
            (Call::FetchOffsets(_), Reply::FetchOffsets(fetched)) => {
                for fetched in fetched.topics.iter().flat_map(|topic| &topic.partitions) {
                    let acknowledged = self.acknowledged.get(&fetched.partition).copied().unwrap_or_default();
                    let start = fetched.offset.max(0);
                    assert!(
                        start >= acknowledged,
                        "partition {}: committed {acknowledged}, fetched {start}",
                        fetched.partition
                    );
                }
            }
            _ => {}
        }
    }

    /// Nobody is in a stable group without an assignment that its leader made for it.
    pub fn became_stable(&self, sync: &Sync, group: &classic::Group) {
        let assigned: BTreeSet<&str> = sync.assignments.iter().map(|(member, _)| member.as_str()).collect();
        let members: BTreeSet<&str> = group.members().map(|member| member.member.as_str()).collect();
        // A leader that answers for a generation of the same number that a lost coordinator had begun knows others.
        if assigned == members {
            for member in group.members() {
                assert!(!member.assignment.is_empty(), "{} has no assignment", member.member);
            }
        }
    }

    /// A fresh coordinator knows what the last one had agreed on with its members.
    pub fn reloaded(before: Option<&Group>, after: Option<&Group>) {
        if let Some(Group::Classic(before)) = before
            && (before.is_stable() || before.is_empty())
        {
            let Some(Group::Classic(after)) = after else {
                panic!("the group is gone: {before:?}")
            };
            let agreed = |group: &classic::Group| {
                let member = |member: &classic::Member| (member.member.clone(), member.assignment.clone());
                let leader = group.leader().map(str::to_owned);
                let protocol = group.protocol().map(str::to_owned);
                let members: Vec<_> = group.members().map(member).collect();
                (group.state_name(), group.generation(), leader, protocol, members)
            };
            // A member that left without a new generation is back until its session ends.
            if before.is_empty() || before.member_count() == after.member_count() {
                assert_eq!(agreed(before), agreed(after));
            }
        }
    }
}
