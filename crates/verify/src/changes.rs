//! What changes in a topic's partitions from one look to the next: leaders, epochs, in-sync replicas.

use std::time::Duration;

use klamm_client::NodeId;
use klamm_client::admin::PartitionDescription;
use serde::Serialize;

use crate::outage::as_millis;

/// How a partition stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    /// In order of their numbers.
    pub isr: Vec<i32>,
}

impl From<&PartitionDescription> for Standing {
    fn from(partition: &PartitionDescription) -> Standing {
        let mut isr: Vec<_> = partition.isr.iter().map(|node| node.0).collect();
        isr.sort_unstable();
        Standing {
            leader: partition.leader.map(|NodeId(node)| node),
            leader_epoch: partition.leader_epoch,
            isr,
        }
    }
}

/// A partition that stood otherwise at the look before. `before` is `None` at the first look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When it was seen, counted from the start of the run.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
    pub partition: i32,
    pub before: Option<Standing>,
    pub after: Standing,
}

/// Changes that are kept; further ones are only counted.
const KEPT_MAX: usize = 10_000;

/// Compares each look with the one before.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    standing: Vec<Option<Standing>>,
    kept: Vec<Change>,
    dropped: u64,
}

impl Changes {
    /// Takes a look at all partitions. A partition that another broker knows less of (an older epoch) is passed over.
    pub fn look(&mut self, at: Duration, partitions: &[PartitionDescription]) {
        for described in partitions {
            let Ok(index) = usize::try_from(described.partition) else {
                continue;
            };
            if index >= self.standing.len() {
                self.standing.resize(index + 1, None);
            }
            let (before, after) = (&mut self.standing[index], Standing::from(described));
            let is_older = before
                .as_ref()
                .is_some_and(|before| after.leader_epoch < before.leader_epoch);
            if before.as_ref() == Some(&after) || is_older {
                continue;
            }
            let change = Change {
                at,
                partition: described.partition,
                before: before.replace(after.clone()),
                after,
            };
            if self.kept.len() < KEPT_MAX {
                self.kept.push(change);
            } else {
                self.dropped += 1;
            }
        }
    }

    /// In the order in which they were seen; the first of each partition is how it stood at the first look.
    pub fn list(&self) -> &[Change] {
        &self.kept
    }

    /// How many there were beyond those that are kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(partition: i32, leader: i32, leader_epoch: i32, isr: &[i32]) -> PartitionDescription {
        PartitionDescription {
            partition,
            leader: (leader >= 0).then_some(NodeId(leader)),
            leader_epoch,
            replicas: Vec::new(),
            isr: isr.iter().map(|&node| NodeId(node)).collect(),
            offline: Vec::new(),
        }
    }

    fn standing(leader: i32, leader_epoch: i32, isr: &[i32]) -> Standing {
        Standing::from(&described(0, leader, leader_epoch, isr))
    }

    #[test]
    fn only_what_differs_is_a_change() {
        let mut changes = Changes::default();
        let looks = [
            (0, described(0, 1, 5, &[1, 2, 3])),
            (1, described(0, 1, 5, &[3, 2, 1])),
            (2, described(0, 2, 6, &[2, 3])),
            // A broker that has not heard of it yet.
            (3, described(0, 1, 5, &[1, 2, 3])),
            (4, described(0, 2, 6, &[2, 3])),
            (5, described(0, 2, 6, &[1, 2, 3])),
        ];
        for (second, look) in looks {
            changes.look(Duration::from_secs(second), &[look]);
        }
        let (first, second) = (standing(1, 5, &[1, 2, 3]), standing(2, 6, &[2, 3]));
        let third = standing(2, 6, &[1, 2, 3]);
        let expected = [
            (0, None, first.clone()),
            (2, Some(first), second.clone()),
            (5, Some(second), third),
        ];
        let expected = expected.map(|(second, before, after)| Change {
            at: Duration::from_secs(second),
            partition: 0,
            before,
            after,
        });
        assert_eq!(changes.list(), expected);
    }
}
