//! What was committed for one group, and whether what is found fits it. Pure.
//!
//! All partitions of a group are committed together, in rounds; an offset tells the round it comes from. A commit
//! without an answer may have been stored or not, so what is found may lie between the last round that was acknowledged
//! and the last one that was tried.

use serde::Serialize;

/// More than there are partitions, so that an offset tells round and partition.
const ROUND: i64 = 1_000_000;

/// The rounds of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    pub acknowledged: i64,
    pub tried: i64,
}

/// What was wrong with offsets that were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// Committed and acknowledged, and not there.
    pub lost: u64,
    /// From before the last acknowledged commit.
    pub older: u64,
    /// Never committed.
    pub foreign: u64,
}

impl Wrong {
    pub fn is_nothing(self) -> bool {
        self == Wrong::default()
    }

    pub fn add(&mut self, other: Wrong) {
        self.lost += other.lost;
        self.older += other.older;
        self.foreign += other.foreign;
    }
}

/// The offset of a partition in a round.
pub fn offset(round: i64, partition: i32) -> i64 {
    round * ROUND + i64::from(partition)
}

impl Rounds {
    /// Holds what was found against these rounds, which were taken before the question was asked. `tried` is asked for
    /// afterwards: a commit may have been tried meanwhile.
    pub fn judge(self, tried: i64, partitions: i32, found: impl Fn(i32) -> Option<i64>) -> Wrong {
        let mut wrong = Wrong::default();
        for partition in 0..partitions {
            match found(partition) {
                None if self.acknowledged > 0 => wrong.lost += 1,
                None => {}
                Some(at) if at % ROUND != i64::from(partition) || at / ROUND > tried => wrong.foreign += 1,
                Some(at) if at / ROUND < self.acknowledged => wrong.older += 1,
                Some(_) => {}
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: Rounds = Rounds {
        acknowledged: 2,
        tried: 3,
    };

    fn judged(offsets: [Option<i64>; 3]) -> Wrong {
        ROUNDS.judge(ROUNDS.tried, 3, |partition| {
            offsets[usize::try_from(partition).unwrap()]
        })
    }

    #[test]
    fn what_lies_between_acknowledged_and_tried_is_well() {
        let found = [Some(offset(2, 0)), Some(offset(3, 1)), Some(offset(2, 2))];
        assert!(judged(found).is_nothing());
    }

    #[test]
    fn what_is_missing_older_or_of_nobody_is_counted() {
        let wrong = judged([None, Some(offset(1, 1)), Some(offset(4, 2))]);
        let expected = Wrong {
            lost: 1,
            older: 1,
            foreign: 1,
        };
        assert_eq!(wrong, expected);
        // The offset of another partition.
        let wrong = judged([Some(offset(2, 1)), Some(offset(2, 1)), Some(offset(2, 2))]);
        assert_eq!((wrong.foreign, wrong.older, wrong.lost), (1, 0, 0));
        // Nothing was acknowledged, so nothing can be missing.
        let none = Rounds::default();
        assert!(none.judge(1, 1, |_| None).is_nothing());
    }
}
