//! Who owns which partition, by what the members were told, and when that last changed. Pure: times come with the news.
//!
//! It knows nothing of protocols: it sees what programs see, so a partition that two members hold at once shows here,
//! whoever is to blame for it.

use std::collections::BTreeMap;
use std::time::Duration;

/// A member, by its number in the run.
pub type MemberNumber = usize;

/// See the module.
pub struct Ownership {
    partitions: usize,
    owners: BTreeMap<i32, MemberNumber>,
    counts: BTreeMap<MemberNumber, usize>,
    last_news: Duration,
    doubled: u64,
}

impl Ownership {
    /// Nobody owns anything of a topic with so many partitions.
    pub fn new(partitions: usize, members: usize) -> Ownership {
        Ownership {
            partitions,
            owners: BTreeMap::new(),
            counts: (0..members).map(|member| (member, 0)).collect(),
            last_news: Duration::ZERO,
            doubled: 0,
        }
    }

    /// A member was given these; an empty list is news too: its rebalance has ended.
    pub fn assigned(&mut self, member: MemberNumber, partitions: &[i32], at: Duration) {
        for partition in partitions {
            match self.owners.insert(*partition, member) {
                Some(owner) if owner != member => {
                    self.doubled += 1;
                    self.subtract(owner);
                    self.add(member);
                }
                Some(_) => {}
                None => self.add(member),
            }
        }
        self.last_news = self.last_news.max(at);
    }

    /// A member gave these up, or lost them.
    pub fn given_up(&mut self, member: MemberNumber, partitions: &[i32], at: Duration) {
        for partition in partitions {
            if self.owners.get(partition) == Some(&member) {
                self.owners.remove(partition);
                self.subtract(member);
            }
        }
        self.last_news = self.last_news.max(at);
    }

    /// A member is about to leave: what it has needs another owner. It holds it until it tells so; that is no news.
    pub fn leaves(&mut self, member: MemberNumber) {
        self.counts.remove(&member);
    }

    /// Every partition has an owner that stays, and no member has two more than another.
    pub fn is_complete(&self) -> bool {
        let (least, most) = self.spread();
        self.owned() == self.partitions && most - least <= 1
    }

    /// The fewest and the most partitions of a member.
    pub fn spread(&self) -> (usize, usize) {
        let least = self.counts.values().min().copied().unwrap_or(0);
        (least, self.counts.values().max().copied().unwrap_or(0))
    }

    /// How many partitions have an owner that stays.
    pub fn owned(&self) -> usize {
        self.counts.values().sum()
    }

    pub fn last_news(&self) -> Duration {
        self.last_news
    }

    /// How often a partition was given to a member while another one held it.
    pub fn doubled(&self) -> u64 {
        self.doubled
    }

    fn add(&mut self, member: MemberNumber) {
        if let Some(count) = self.counts.get_mut(&member) {
            *count += 1;
        }
    }

    fn subtract(&mut self, member: MemberNumber) {
        if let Some(count) = self.counts.get_mut(&member) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn complete_is_every_partition_once_and_shares_alike() {
        let mut ownership = Ownership::new(3, 2);
        ownership.assigned(0, &[0, 1, 2], at(10));
        assert!(!ownership.is_complete(), "member 1 has nothing yet");
        ownership.given_up(0, &[2], at(20));
        assert!(!ownership.is_complete(), "partition 2 has no owner");
        ownership.assigned(1, &[2], at(30));
        assert_eq!((ownership.is_complete(), ownership.spread()), (true, (1, 2)));
        assert_eq!((ownership.last_news(), ownership.doubled()), (at(30), 0));
    }

    #[test]
    fn a_partition_with_two_owners_is_counted() {
        let mut ownership = Ownership::new(2, 2);
        ownership.assigned(0, &[0], at(1));
        ownership.assigned(1, &[0, 1], at(2));
        assert_eq!((ownership.doubled(), ownership.spread()), (1, (0, 2)));
        // The former owner gives up what is not its own any more.
        ownership.given_up(0, &[0], at(3));
        assert_eq!((ownership.owned(), ownership.spread()), (2, (0, 2)));
    }

    #[test]
    fn who_leaves_holds_its_partitions_until_it_gives_them_up() {
        let mut ownership = Ownership::new(2, 2);
        ownership.assigned(0, &[0], at(1));
        ownership.assigned(1, &[1], at(2));
        ownership.leaves(1);
        assert_eq!((ownership.is_complete(), ownership.owned()), (false, 1));
        ownership.given_up(1, &[1], at(4));
        ownership.assigned(0, &[1], at(5));
        assert_eq!((ownership.is_complete(), ownership.doubled()), (true, 0));
        // The end of a rebalance that brings nothing new counts as well.
        ownership.assigned(0, &[], at(9));
        assert_eq!(ownership.last_news(), at(9));
        ownership.assigned(1, &[0], at(10));
        assert_eq!((ownership.is_complete(), ownership.doubled()), (false, 1));
    }
}
