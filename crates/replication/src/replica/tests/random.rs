//! Any events in any order: nothing panics, every ordering holds, and the high watermark never goes back by itself.

use klamm_types::{BrokerEpoch, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionEpoch};
use proptest::prelude::*;

use super::stage::{Stage, plain, sequenced};
use crate::{
    Acknowledge, Acks, AlterAttempt, AlterOutcome, AppendId, Durability, Effect, Event, FlushId, Isolation, Lane,
    Limits, OpenedLog, ProducerTable, PushFailure, ReplicaBatches, RequestId, Subscribe, SubscribeAnswer,
    SubscriptionNumber,
};

/// A number that events are made of; small, so that events meet.
type Seeds = (u8, u8, u8, u8, u8);

fn answer_for(kind: u8, first: u8, second: u8) -> SubscribeAnswer {
    match kind % 4 {
        0 => SubscribeAnswer::Accepted {
            high_watermark: HighWatermark(i64::from(first)),
            log_start: LogStartOffset(0),
        },
        1 => SubscribeAnswer::Diverged {
            epoch: LeaderEpoch(i32::from(first % 6)),
            end_offset: Offset(i64::from(second)),
        },
        2 => SubscribeAnswer::OutOfRange {
            log_start: LogStartOffset(i64::from(first)),
            producers: ProducerTable::new(Offset(i64::from(first))),
        },
        _ => SubscribeAnswer::Refused {
            error: klamm_types::ErrorCode::NotLeaderOrFollower,
            leader_epoch: LeaderEpoch(i32::from(first % 8)),
        },
    }
}

/// Answers some of what the replica asked for, so that it gets somewhere.
fn answer_effects(stage: &mut Stage, effects: Vec<Effect>, luck: u8) -> Vec<Effect> {
    let mut follow_up = Vec::new();
    for effect in effects {
        let event = match effect {
            Effect::Append { append, .. } => Event::AppendWritten { append },
            Effect::Flush { flush, up_to, .. } => Event::FlushedTo { flush, offset: up_to },
            Effect::PaceCredit { subscription, bytes } => Event::CreditPaced { subscription, bytes },
            Effect::SetUnflushedMark => Event::UnflushedMarkSet,
            Effect::RemoveUnflushedMark => Event::UnflushedMarkRemoved,
            Effect::Truncate { to } => Event::Truncated {
                log_start: stage.replica.log_start(),
                log_end: to,
                producers: Box::new(ProducerTable::new(to)),
            },
            Effect::RestartLog { at, producers } => Event::Truncated {
                log_start: LogStartOffset(at.0),
                log_end: at,
                producers: Box::new(producers),
            },
            Effect::Push {
                follower,
                subscription,
                up_to,
                ..
            } => Event::Pushed {
                follower,
                subscription,
                next: up_to,
                bytes: 80,
            },
            Effect::SubscribeTo {
                leader,
                subscription,
                leader_epoch,
                next_offset,
                ..
            } => Event::SubscribeAnswered {
                leader,
                subscription,
                leader_epoch,
                answer: answer_for(luck, next_offset.0 as u8, luck / 2),
            },
            Effect::AlterPartition(asked) => Event::AlterPartitionAnswered {
                attempt: asked.attempt,
                outcome: match luck % 3 {
                    0 => AlterOutcome::Unknown,
                    1 => AlterOutcome::Ineligible,
                    _ => AlterOutcome::Committed {
                        partition_epoch: asked.partition_epoch.next(),
                    },
                },
            },
            _ => continue,
        };
        follow_up.push(event);
    }
    follow_up.into_iter().flat_map(|event| stage.step(event)).collect()
}

fn event(stage: &mut Stage, (kind, first, second, third, fourth): Seeds) -> Event {
    let follower = NodeId(2 + i32::from(first % 2));
    let number = SubscriptionNumber(u64::from(second % 4));
    let epoch = LeaderEpoch(stage.view.leader_epoch.0 + i32::from(third % 8 == 0));
    match kind % 19 {
        0 => {
            stage.view.leader = [None, Some(NodeId(1)), Some(NodeId(2))][usize::from(first % 3)];
            stage.view.leader_epoch = LeaderEpoch(stage.view.leader_epoch.0 + 1);
            stage.view.partition_epoch = stage.view.partition_epoch.next();
            Event::MetadataChanged(Box::new(stage.view.clone()))
        }
        1 => {
            stage.view.partition_epoch = PartitionEpoch(stage.view.partition_epoch.0 + 1);
            stage.view.isr = (1..=1 + i32::from(first % 3)).map(NodeId).collect();
            stage.view.settings.durability = match second % 2 {
                0 => Durability::Fsync,
                _ => Durability::Replicated,
            };
            Event::MetadataChanged(Box::new(stage.view.clone()))
        }
        2 => Event::Subscribe(Subscribe {
            follower,
            broker_epoch: BrokerEpoch(10 + i64::from(follower.0) + i64::from(fourth % 9 == 0)),
            subscription: number,
            leader_epoch: epoch,
            next_offset: Offset(i64::from(third)),
            last_epoch: LeaderEpoch(i32::from(fourth % 6) - 1),
            credit_bytes: 500,
        }),
        3 | 4 => Event::Acknowledged(Acknowledge {
            follower,
            broker_epoch: BrokerEpoch(10 + i64::from(follower.0)),
            subscription: number,
            leader_epoch: epoch,
            written: Offset(i64::from(third.max(fourth))),
            flushed: Offset(i64::from(fourth)),
            credit_bytes: u64::from(first),
        }),
        5 => Event::Pushed {
            follower,
            subscription: number,
            next: stage.replica.log_end(),
            bytes: u64::from(third),
        },
        6 => Event::PushFailed {
            follower,
            subscription: number,
            failure: [PushFailure::Stream, PushFailure::OutOfRange][usize::from(third % 2)],
        },
        7 => Event::ReplicaBatches(ReplicaBatches {
            leader: NodeId(2),
            lane: [Lane::InSync, Lane::CatchUp][usize::from(first % 2)],
            subscription: SubscriptionNumber(stage.replica.subscriptions),
            leader_epoch: epoch,
            from: stage.replica.log.accepted,
            batches: vec![plain(1 + usize::from(first % 3)).assigned(stage.replica.log.accepted, epoch)],
            high_watermark: HighWatermark(i64::from(second)),
            log_start: LogStartOffset(0),
        }),
        8..=15 => other_event(stage, (kind, first, second, third, fourth)),
        _ => {
            stage.pass(u64::from(first) * 10);
            Event::Tick
        }
    }
}

fn other_event(stage: &Stage, (kind, first, second, third, _): Seeds) -> Event {
    let follower = NodeId(2 + i32::from(first % 2));
    let number = SubscriptionNumber(u64::from(second % 4));
    let epoch = LeaderEpoch(stage.view.leader_epoch.0 + i32::from(third % 8 == 0));
    match kind % 19 {
        8 => Event::StreamLost {
            leader: NodeId(2),
            subscription: SubscriptionNumber(stage.replica.subscriptions),
        },
        9 => Event::FollowerStreamEnded {
            follower,
            broker_epoch: BrokerEpoch(10 + i64::from(follower.0)),
            subscription: number,
        },
        10 => Event::AppendWritten {
            append: AppendId(u64::from(first)),
        },
        11 => Event::FlushedTo {
            flush: FlushId(u64::from(first)),
            offset: Offset(i64::from(second)),
        },
        12 => Event::ParkFetch {
            request: RequestId(u64::from(first)),
            beyond: Offset(i64::from(second)),
            isolation: Isolation::ReadUncommitted,
        },
        13 => Event::AlterPartitionAnswered {
            attempt: AlterAttempt(u64::from(first)),
            outcome: AlterOutcome::NotDecided,
        },
        14 => Event::FlushDue,
        _ => Event::Unsubscribe {
            follower,
            subscription: number,
            leader_epoch: epoch,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_ordering_holds_after_any_event(
        seeds in prop::collection::vec((any::<(u8, u8, u8, u8, u8)>(), any::<u8>()), 1..120),
        end in 0i64..40,
    ) {
        let mut stage = Stage::open(OpenedLog {
            log_end: Offset(end),
            flushed: Offset(end / 2),
            epochs: vec![(LeaderEpoch(0), Offset(0))],
            high_watermark: HighWatermark(end / 3),
            ..OpenedLog::default()
        });
        stage.replica.limits = Limits { credit_bytes: 300, unflushed_bytes_max: 150, push_bytes_max: 100, ..Limits::default() };
        for (index, (seed, luck)) in seeds.into_iter().enumerate() {
            let before = stage.replica.high_watermark();
            let mut cut = false;
            let event = event(&mut stage, seed);
            let mut effects = stage.step(event);
            if luck % 3 == 0 {
                let batch = if luck % 2 == 0 { sequenced(index as i32, 1) } else { plain(2) };
                effects.extend(stage.produce(index as u64, batch, Acks::All));
            }
            for _ in 0..6 {
                cut |= effects.iter().any(|effect| matches!(effect, Effect::Truncate { .. } | Effect::RestartLog { .. }));
                effects = answer_effects(&mut stage, effects, luck);
            }
            prop_assert!(cut || stage.replica.high_watermark() >= before);
        }
    }
}
