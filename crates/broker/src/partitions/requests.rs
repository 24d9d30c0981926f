//! What partitions want of the controller, gathered until somebody takes it along.
//!
//! At most one wish of each kind per partition waits: a newer one replaces it, so the queue is bounded by the
//! number of partitions. Reaching the controller, and asking again, is the business of whoever takes the wishes;
//! the cores repeat what was not answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use klamm_replication::{AlterOutcome, AlterPartition, ReplaceReason};
use klamm_schema::id_bytes;
use klamm_schema::metadata::Leadership;
use klamm_schema::requests::{
    AlterPartition as AlterMessage, AlterPartitionReply, AlterPartitionRequest, DamagedReplica, IsrMember,
    ReportDamageRequest,
};
use klamm_types::{
    BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionId, TopicId, TopicPartition,
};
use tokio::sync::Notify;

/// A leader asks to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceWish {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// The ISR without this broker: how the controller is asked.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    pub reason: ReplaceReason,
}

/// Everything that partitions want of the controller at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub alter: HashMap<TopicPartition, AlterPartition>,
    pub replace: HashMap<TopicPartition, ReplaceWish>,
    pub damage: HashMap<TopicPartition, Damage>,
}

/// Why a replica must not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its log is damaged from this offset on.
    From(Offset),
    /// Its disk has failed.
    Disk,
}

impl Wishes {
    pub fn is_empty(&self) -> bool {
        self.alter.is_empty() && self.replace.is_empty() && self.damage.is_empty()
    }

    /// The request for the ISR changes, the wishes to be replaced among them; `None` if there are none.
    pub fn alter_request(&self, node: NodeId, broker_epoch: BrokerEpoch) -> Option<AlterPartitionRequest> {
        let proposals = self.alter.iter().map(|(partition, alter)| AlterMessage {
            topic_id: id_bytes(partition.topic.as_bytes()),
            partition: partition.partition.0,
            leader_epoch: alter.leader_epoch.0,
            partition_epoch: alter.partition_epoch.0,
            new_isr: members(&alter.isr),
            lost_data: alter.lost_data.iter().map(|node| node.0).collect(),
        });
        let replacements = self
            .replace
            .iter()
            .filter(|(partition, _)| !self.alter.contains_key(partition));
        let replacements = replacements.map(|(partition, wish)| AlterMessage {
            topic_id: id_bytes(partition.topic.as_bytes()),
            partition: partition.partition.0,
            leader_epoch: wish.leader_epoch.0,
            partition_epoch: wish.partition_epoch.0,
            new_isr: members(&wish.isr),
            lost_data: Vec::new(),
        });
        let partitions: Vec<_> = proposals.chain(replacements).collect();
        (!partitions.is_empty()).then_some(AlterPartitionRequest {
            broker: node.0,
            broker_epoch: broker_epoch.0,
            partitions,
        })
    }

    /// The report of the damage; `None` if there is none.
    pub fn damage_request(&self, node: NodeId, broker_epoch: BrokerEpoch) -> Option<ReportDamageRequest> {
        let replicas: Vec<_> = self.damage.iter().map(damaged_replica).collect();
        (!replicas.is_empty()).then_some(ReportDamageRequest {
            broker: node.0,
            broker_epoch: broker_epoch.0,
            replicas,
            failed_directories: Vec::new(),
        })
    }

    /// What became of each proposal. What the reply does not name was not decided.
    pub fn outcomes(&self, answer: AlterAnswer<'_>) -> Vec<(TopicPartition, AlterPartition, AlterOutcome)> {
        let outcome = |partition: &TopicPartition, alter: &AlterPartition| match answer {
            AlterAnswer::NotSent => AlterOutcome::NotDecided,
            AlterAnswer::Unknown => AlterOutcome::Unknown,
            AlterAnswer::Reply(reply) => outcome_of(reply, *partition, alter),
        };
        self.alter
            .iter()
            .map(|(partition, alter)| (*partition, alter.clone(), outcome(partition, alter)))
            .collect()
    }
}

/// How a request for ISR changes ended.
#[derive(Clone, Copy, Debug)]
pub enum AlterAnswer<'a> {
    /// It certainly had no effect.
    NotSent,
    /// It may have had one.
    Unknown,
    Reply(&'a AlterPartitionReply),
}

fn members(isr: &[(NodeId, BrokerEpoch)]) -> Vec<IsrMember> {
    isr.iter()
        .map(|(node, epoch)| IsrMember {
            broker: node.0,
            broker_epoch: epoch.0,
        })
        .collect()
}

fn damaged_replica((partition, damage): (&TopicPartition, &Damage)) -> DamagedReplica {
    DamagedReplica {
        topic_id: id_bytes(partition.topic.as_bytes()),
        partition: partition.partition.0,
        reason: match damage {
            Damage::From(from) => format!("the log is damaged from offset {from} on"),
            Damage::Disk => "the disk has failed".to_owned(),
        },
    }
}

fn outcome_of(reply: &AlterPartitionReply, partition: TopicPartition, alter: &AlterPartition) -> AlterOutcome {
    if let Some(error) = error_of(reply.error_code) {
        return AlterOutcome::Refused { error };
    }
    let named = reply.partitions.iter().find(|result| {
        TopicId::from_slice(&result.topic_id) == Some(partition.topic)
            && PartitionId(result.partition) == partition.partition
    });
    let Some(result) = named else {
        return AlterOutcome::NotDecided;
    };
    match error_of(result.error_code) {
        None => committed(result.leadership.as_ref(), alter),
        Some(ErrorCode::IneligibleReplica) => AlterOutcome::Ineligible,
        Some(ErrorCode::InvalidUpdateVersion) => AlterOutcome::StalePartitionEpoch,
        Some(ErrorCode::FencedLeaderEpoch | ErrorCode::NewLeaderElected | ErrorCode::NotLeaderOrFollower) => {
            AlterOutcome::Fenced
        }
        Some(ErrorCode::NotController) => AlterOutcome::NotDecided,
        Some(ErrorCode::RequestTimedOut) => AlterOutcome::Unknown,
        Some(error) => AlterOutcome::Refused { error },
    }
}

fn committed(leadership: Option<&Leadership>, alter: &AlterPartition) -> AlterOutcome {
    match leadership {
        Some(leadership) => AlterOutcome::Committed {
            partition_epoch: PartitionEpoch(leadership.partition_epoch),
        },
        // Accepted without saying as what: the metadata stream settles it.
        None => AlterOutcome::Committed {
            partition_epoch: alter.partition_epoch.next(),
        },
    }
}

/// The error that a code stands for; one that the table lacks counts as unknown.
fn error_of(code: i32) -> Option<ErrorCode> {
    let error = i16::try_from(code)
        .ok()
        .and_then(ErrorCode::from_code)
        .unwrap_or(ErrorCode::UnknownServerError);
    error.is_error().then_some(error)
}

/// Where the wishes wait.
#[derive(Debug, Default)]
pub struct WishBox {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

impl WishBox {
    /// Adds a proposal. The one it replaces, if there is one, was not decided.
    pub fn alter(&self, partition: TopicPartition, alter: AlterPartition) -> Option<AlterPartition> {
        let replaced = self.lock().alter.insert(partition, alter);
        self.changed.notify_one();
        replaced
    }

    pub fn replace(&self, partition: TopicPartition, wish: ReplaceWish) {
        self.lock().replace.insert(partition, wish);
        self.changed.notify_one();
    }

    pub fn damage(&self, partition: TopicPartition, damage: Damage) {
        self.lock().damage.insert(partition, damage);
        self.changed.notify_one();
    }

    /// Everything there is, once there is something.
    pub async fn take(&self) -> Wishes {
        loop {
            let wishes = std::mem::take(&mut *self.lock());
            if !wishes.is_empty() {
                return wishes;
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use klamm_replication::AlterAttempt;
    use klamm_schema::requests::AlterPartitionResult;

    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_u128(1),
            partition: PartitionId(number),
        }
    }

    fn alter(attempt: u64) -> AlterPartition {
        AlterPartition {
            attempt: AlterAttempt(attempt),
            leader_epoch: LeaderEpoch(3),
            partition_epoch: PartitionEpoch(7),
            isr: vec![(NodeId(1), BrokerEpoch(11))],
            lost_data: Vec::new(),
        }
    }

    fn result(number: i32, error: ErrorCode, leadership: Option<Leadership>) -> AlterPartitionResult {
        AlterPartitionResult {
            topic_id: id_bytes(partition(number).topic.as_bytes()),
            partition: number,
            error_code: i32::from(error.code()),
            error_message: String::new(),
            leadership,
        }
    }

    #[tokio::test]
    async fn a_newer_proposal_replaces_the_one_that_waits() {
        let wishes = WishBox::default();
        assert_eq!(wishes.alter(partition(0), alter(1)), None);
        assert_eq!(wishes.alter(partition(0), alter(2)), Some(alter(1)));
        wishes.damage(partition(1), Damage::Disk);
        let taken = wishes.take().await;
        assert_eq!(taken.alter, HashMap::from([(partition(0), alter(2))]));
        assert_eq!(taken.damage, HashMap::from([(partition(1), Damage::Disk)]));
        assert!(futures_util::poll!(std::pin::pin!(wishes.take())).is_pending());
    }

    #[test]
    fn replies_become_outcomes() {
        let wishes = Wishes {
            alter: (0..5).map(|number| (partition(number), alter(1))).collect(),
            ..Wishes::default()
        };
        let leadership = Leadership {
            partition_epoch: 8,
            ..Leadership::default()
        };
        let reply = AlterPartitionReply {
            partitions: vec![
                result(0, ErrorCode::None, Some(leadership)),
                result(1, ErrorCode::IneligibleReplica, None),
                result(2, ErrorCode::InvalidUpdateVersion, None),
                result(3, ErrorCode::FencedLeaderEpoch, None),
            ],
            ..AlterPartitionReply::default()
        };
        let mut outcomes = wishes.outcomes(AlterAnswer::Reply(&reply));
        outcomes.sort_by_key(|(partition, ..)| *partition);
        let outcomes: Vec<AlterOutcome> = outcomes.into_iter().map(|(_, _, outcome)| outcome).collect();
        assert_eq!(
            outcomes,
            [
                AlterOutcome::Committed {
                    partition_epoch: PartitionEpoch(8)
                },
                AlterOutcome::Ineligible,
                AlterOutcome::StalePartitionEpoch,
                AlterOutcome::Fenced,
                AlterOutcome::NotDecided,
            ]
        );
        let unknown = wishes.outcomes(AlterAnswer::Unknown);
        assert!(unknown.iter().all(|(_, _, outcome)| *outcome == AlterOutcome::Unknown));
    }
}
