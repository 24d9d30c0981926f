//! Whose a partition of a group was, as its members told: one owner at a time, nothing skipped, nothing that was committed
//! given out again. Everything is told first and judged at the end, in the order of one clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a member tells, or what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Assigned {
        partitions: Vec<i32>,
    },
    /// With the offsets that were committed before they were given up.
    Revoked {
        positions: Vec<(i32, i64)>,
    },
    Lost {
        partitions: Vec<i32>,
    },
    /// Offsets `from..=to`, without a gap.
    Read {
        partition: i32,
        from: i64,
        to: i64,
    },
    /// Accepted; asked for at `asked_us`.
    Committed {
        asked_us: u64,
        offsets: Vec<(i32, i64)>,
    },
    /// It takes no part in the group any more, and says why.
    Refused {
        why: String,
    },
    /// Killed, or ended as told: it owns nothing from now on.
    Ended,
    /// Stopped, or another took its place: it may believe for a while that it owns what others have been given.
    Stale,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// By the clock that all processes of the machine share.
    pub at_us: u64,
    pub member: u32,
    pub what: What,
}

/// What the judge found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    pub wrong: Vec<String>,
    /// Records that a stale member still gave out after others had been given the partition.
    pub stale_reads: u64,
    /// Records that came again because nobody had committed them.
    pub redelivered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    since_us: u64,
    /// What had been committed when it got the partition.
    committed: i64,
    next: Option<i64>,
    is_stale: bool,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    owners: BTreeMap<u32, Owner>,
    committed: i64,
    frontier: i64,
}

/// Judges all that was told; `ends`: where each partition ends, all of which must have been read and committed.
pub fn judge(mut told: Vec<Told>, ends: &BTreeMap<i32, i64>) -> Finding {
    told.sort_by_key(|one| one.at_us);
    let mut partitions: BTreeMap<i32, Partition> = BTreeMap::new();
    let mut finding = Finding::default();
    for one in told {
        step(&mut partitions, &one, &mut finding);
    }
    for (number, end) in ends {
        let partition = partitions.entry(*number).or_default();
        if partition.frontier != *end || partition.committed != *end {
            let (read, committed) = (partition.frontier, partition.committed);
            finding.wrong.push(format!(
                "partition {number} ends at {end}, was read to {read} and committed to {committed}"
            ));
        }
    }
    finding
}

/// Whether so many partitions have one owner each, by what was told until now; stale ones do not count.
pub fn is_shared_out(mut told: Vec<Told>, count: usize) -> bool {
    told.sort_by_key(|one| one.at_us);
    let mut partitions = BTreeMap::new();
    for one in told {
        step(&mut partitions, &one, &mut Finding::default());
    }
    let owned = partitions.values().filter(|partition| {
        let mut owners = partition.owners.values().filter(|owner| !owner.is_stale);
        owners.next().is_some() && owners.next().is_none()
    });
    owned.count() == count
}

fn step(partitions: &mut BTreeMap<i32, Partition>, told: &Told, finding: &mut Finding) {
    let member = told.member;
    match &told.what {
        What::Assigned { partitions: given } => {
            for number in given {
                let partition = partitions.entry(*number).or_default();
                partition.assigned(told, *number, finding);
            }
        }
        What::Revoked { positions } => {
            for (number, position) in positions {
                let partition = partitions.entry(*number).or_default();
                partition.owners.remove(&member);
                partition.committed = partition.committed.max(*position);
            }
        }
        What::Lost { partitions: lost } => {
            for number in lost {
                partitions.entry(*number).or_default().owners.remove(&member);
            }
        }
        What::Ended => partitions.values_mut().for_each(|partition| {
            partition.owners.remove(&member);
        }),
        What::Stale => {
            for owner in partitions
                .values_mut()
                .filter_map(|partition| partition.owners.get_mut(&member))
            {
                owner.is_stale = true;
            }
        }
        What::Read { partition, from, to } => {
            let place = partitions.entry(*partition).or_default();
            place.read(member, *partition, (*from, *to), finding);
        }
        What::Committed { asked_us, offsets } => {
            for (number, offset) in offsets {
                let partition = partitions.entry(*number).or_default();
                partition.committed_by(member, *number, (*asked_us, *offset), finding);
            }
        }
        What::Refused { .. } => {}
    }
}

impl Partition {
    fn assigned(&mut self, told: &Told, number: i32, finding: &mut Finding) {
        let member = told.member;
        for (other, owner) in self
            .owners
            .iter()
            .filter(|(other, owner)| **other != member && !owner.is_stale)
        {
            let had_ms = (told.at_us - owner.since_us) / 1000;
            finding.wrong.push(format!(
                "partition {number} was given to member {member} while member {other} had it, for {had_ms} ms until then"
            ));
        }
        let owner = Owner {
            since_us: told.at_us,
            committed: self.committed,
            next: None,
            is_stale: false,
        };
        self.owners.insert(member, owner);
    }

    fn read(&mut self, member: u32, number: i32, (from, to): (i64, i64), finding: &mut Finding) {
        let has_others = self
            .owners
            .iter()
            .any(|(other, owner)| *other != member && !owner.is_stale);
        let Some(owner) = self.owners.get_mut(&member) else {
            finding.wrong.push(format!(
                "member {member} read {from} of partition {number}, which it had not"
            ));
            return;
        };
        let count = u64::try_from(to + 1 - from).unwrap_or(0);
        let expected = owner.next.unwrap_or(owner.committed);
        owner.next = Some(to + 1);
        if owner.is_stale && has_others {
            finding.stale_reads += count;
            return;
        }
        let again = u64::try_from((to + 1).min(self.frontier) - from).unwrap_or(0);
        finding.redelivered += again;
        if from < expected {
            finding.wrong.push(format!(
                "member {member} got {from} of partition {number} again: {expected} was to come"
            ));
        }
        if from > expected.max(self.frontier) {
            let frontier = self.frontier;
            finding.wrong.push(format!(
                "member {member} went to {from} of partition {number}: {frontier} was skipped"
            ));
        }
        self.frontier = self.frontier.max(to + 1);
    }

    fn committed_by(&mut self, member: u32, number: i32, (asked_us, offset): (u64, i64), finding: &mut Finding) {
        let is_own = self.owners.get(&member).is_some_and(|owner| !owner.is_stale);
        let is_given =
            |(other, owner): (&u32, &Owner)| *other != member && !owner.is_stale && owner.since_us < asked_us;
        if !is_own && self.owners.iter().any(is_given) {
            finding.wrong.push(format!(
                "a commit of member {member} for partition {number} counted after others had it"
            ));
        }
        self.committed = self.committed.max(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at_us: u64, member: u32, what: What) -> Told {
        Told { at_us, member, what }
    }

    fn assigned(at_us: u64, member: u32) -> Told {
        told(at_us, member, What::Assigned { partitions: vec![0] })
    }

    fn read(at_us: u64, member: u32, from: i64, to: i64) -> Told {
        told(at_us, member, What::Read { partition: 0, from, to })
    }

    fn committed(at_us: u64, member: u32, offset: i64) -> Told {
        let asked_us = at_us - 1;
        told(
            at_us,
            member,
            What::Committed {
                asked_us,
                offsets: vec![(0, offset)],
            },
        )
    }

    /// Member 1 reads and commits, is paused, and member 2 takes over what is not committed.
    fn good() -> Vec<Told> {
        vec![
            assigned(10, 1),
            read(20, 1, 0, 9),
            committed(30, 1, 5),
            told(40, 1, What::Stale),
            assigned(60, 2),
            read(70, 2, 5, 19),
            committed(80, 2, 20),
            read(85, 1, 10, 12),
            told(90, 1, What::Lost { partitions: vec![0] }),
        ]
    }

    fn found(told: Vec<Told>) -> String {
        judge(told, &[(0, 20)].into()).wrong.join("; ")
    }

    #[test]
    fn a_good_story_is_good_whatever_the_order_in_which_it_is_told() {
        let mut story = good();
        story.reverse();
        let finding = judge(story, &[(0, 20)].into());
        let expected = Finding {
            wrong: Vec::new(),
            stale_reads: 3,
            redelivered: 5,
        };
        assert_eq!(finding, expected);
    }

    #[test]
    fn two_owners_are_seen() {
        let mut story = good();
        story.remove(3);
        assert!(found(story).contains("given to member 2 while member 1 had it"));
        let mut ended = good();
        ended[3].what = What::Ended;
        ended.retain(|one| one.at_us < 85);
        assert_eq!(found(ended), "", "who is dead owns nothing");
    }

    #[test]
    fn who_was_given_something_and_has_not_told_it_owns_nothing_yet() {
        let mut story = good();
        assert!(is_shared_out(story.clone(), 1));
        assert!(!is_shared_out(story.clone(), 2));
        story.retain(|one| one.at_us < 60);
        assert!(
            !is_shared_out(story.clone(), 1),
            "its owner is stale, and no other has told"
        );
        story.push(assigned(50, 1));
        story.push(assigned(60, 2));
        assert!(!is_shared_out(story, 1), "it has two owners");
    }

    #[test]
    fn a_committed_record_must_not_come_again() {
        let mut story = good();
        story[5] = read(70, 2, 4, 19);
        assert!(found(story).contains("member 2 got 4 of partition 0 again: 5 was to come"));
        let mut revoked = good();
        revoked[3].what = What::Revoked {
            positions: vec![(0, 10)],
        };
        revoked.retain(|one| one.at_us < 85);
        assert!(found(revoked).contains("member 2 got 5 of partition 0 again"));
    }

    #[test]
    fn skipped_and_foreign_records_are_seen() {
        let mut story = good();
        story[5] = read(70, 2, 11, 19);
        assert!(found(story).contains("10 was skipped"));
        let mut story = good();
        story.push(read(95, 1, 20, 20));
        assert!(found(story).contains("which it had not"));
        let mut story = good();
        story.truncate(6);
        assert!(found(story).contains("was read to 20 and committed to 5"));
    }

    #[test]
    fn a_stale_members_commit_must_not_count() {
        let mut story = good();
        story.push(committed(87, 1, 13));
        assert!(found(story).contains("a commit of member 1 for partition 0 counted after others had it"));
        let mut under_way = good();
        let what = What::Committed {
            asked_us: 39,
            offsets: vec![(0, 10)],
        };
        under_way.push(told(87, 1, what));
        assert_eq!(found(under_way), "", "it was asked for before");
    }
}
