//! The in-sync replicas: joining, leaving, proposals that are not settled, and comparing logs.

use klamm_types::{
    BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionEpoch, Timestamp,
};

use super::stage::{Stage, accepted, answer, completions, plain, refused, sequenced};
use crate::{
    Acks, Alarm, AlterAttempt, AlterOutcome, AlterPartition, Effect, Event, ReplaceReason, SubscribeAnswer,
    SubscriptionNumber,
};

fn proposal(attempt: u64, partition_epoch: i32, nodes: &[i32], lost: &[i32]) -> Effect {
    Effect::AlterPartition(AlterPartition {
        attempt: AlterAttempt(attempt),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(partition_epoch),
        isr: nodes
            .iter()
            .map(|&node| (NodeId(node), BrokerEpoch(10 + i64::from(node))))
            .collect(),
        lost_data: lost.iter().map(|&node| NodeId(node)).collect(),
    })
}

fn proposals(effects: &[Effect]) -> Vec<Effect> {
    effects
        .iter()
        .filter(|effect| matches!(effect, Effect::AlterPartition(_)))
        .cloned()
        .collect()
}

fn answered(attempt: u64, outcome: AlterOutcome) -> Event {
    Event::AlterPartitionAnswered {
        attempt: AlterAttempt(attempt),
        outcome,
    }
}

/// Leads in epoch 5 with partition epoch 2; only brokers 1 and 2 are in sync, 3 is not there.
fn two_in_sync() -> Stage {
    let mut stage = Stage::leading();
    stage.image(|view| view.isr = [1, 2].map(NodeId).into());
    stage.subscribe(2, 1, 0, -1);
    stage.acknowledge(2, 1, 0, 0);
    stage
}

/// All are in sync, and only broker 2 acknowledges the record.
fn with_a_late_follower() -> Stage {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, plain(1), Acks::Leader);
    stage.written(1);
    stage.pushed(2, 1, 1);
    stage.pushed(3, 1, 1);
    stage.flushed(1, 1);
    stage.acknowledge(2, 1, 1, 1);
    stage
}

#[test]
fn a_follower_that_stays_behind_leaves() {
    let mut stage = with_a_late_follower();
    assert_eq!(proposals(&stage.pass_ticking(1900)), []);
    let effects = stage.pass_ticking(300);
    assert_eq!(effects, [proposal(1, 1, &[1, 2], &[])]);
    assert_eq!(
        stage.replica.high_watermark(),
        HighWatermark(0),
        "the proposed-away member counts until it is settled"
    );
    stage.step(answered(
        1,
        AlterOutcome::Committed {
            partition_epoch: PartitionEpoch(2),
        },
    ));
    assert_eq!(
        stage.replica.high_watermark(),
        HighWatermark(0),
        "an answer settles nothing either"
    );
    stage.image(|view| view.isr = [1, 2].map(NodeId).into());
    assert_eq!(stage.replica.high_watermark(), HighWatermark(1));
}

/// A deadline that has passed and stays would have the worker come back to it for ever, and take no image any more.
#[test]
fn a_leader_whose_proposal_is_decided_waits_for_the_image_without_a_timer() {
    let mut stage = with_a_late_follower();
    assert_eq!(stage.pass_ticking(2200), [proposal(1, 1, &[1, 2], &[])]);
    let partition_epoch = PartitionEpoch(2);
    stage.step(answered(1, AlterOutcome::Committed { partition_epoch }));
    assert_eq!(stage.pass_ticking(10_000), []);
    assert_eq!(stage.replica.next_deadline(), None);
}

#[test]
fn an_idle_partition_is_in_sync_while_its_streams_live() {
    let mut stage = Stage::leading();
    stage.followers_join();
    assert_eq!(stage.pass_ticking(60_000), []);
    assert_eq!(stage.replica.next_deadline(), None, "and needs no timer");
    stage.step(Event::FollowerStreamEnded {
        follower: NodeId(3),
        broker_epoch: BrokerEpoch(13),
        subscription: SubscriptionNumber(1),
    });
    assert_eq!(proposals(&stage.pass_ticking(1999)), []);
    assert_eq!(proposals(&stage.pass_ticking(1)), [proposal(1, 1, &[1, 2], &[])]);
}

#[test]
fn nobody_is_judged_by_a_clock_that_was_late() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.step(Event::FollowerStreamEnded {
        follower: NodeId(3),
        broker_epoch: BrokerEpoch(13),
        subscription: SubscriptionNumber(1),
    });
    // Stopped for ten seconds; the tick comes eight seconds late.
    stage.pass(10_000);
    assert_eq!(stage.tick(), []);
    assert_eq!(proposals(&stage.pass_ticking(1999)), []);
    assert_eq!(proposals(&stage.pass_ticking(1)), [proposal(1, 1, &[1, 2], &[])]);
}

#[test]
fn a_follower_joins_and_counts_from_the_proposal_on() {
    let mut stage = two_in_sync();
    stage.subscribe(3, 1, 0, -1);
    let effects = stage.acknowledge(3, 1, 0, 0);
    assert_eq!(proposals(&effects), [proposal(1, 2, &[1, 2, 3], &[])]);
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    stage.pushed(2, 1, 1);
    stage.pushed(3, 1, 1);
    stage.flushed(1, 1);
    stage.acknowledge(2, 1, 1, 1);
    assert_eq!(
        stage.replica.high_watermark(),
        HighWatermark(0),
        "the proposed member counts"
    );
    assert_eq!(completions(&stage.acknowledge(3, 1, 1, 1)).len(), 1);
}

#[test]
fn a_fenced_follower_or_one_that_lacks_the_epochs_start_does_not_join() {
    let mut stage = Stage::with_log(10, 4);
    stage.view.isr = [1, 2].map(NodeId).into();
    stage.lead(5);
    stage.subscribe(3, 1, 5, 1);
    assert_eq!(
        proposals(&stage.acknowledge(3, 1, 5, 5)),
        [],
        "above the high watermark, below the epoch's start"
    );
    stage.image(|view| {
        if let Some(broker) = view.brokers.get_mut(&NodeId(3)) {
            broker.state = crate::BrokerState::Fenced;
        }
    });
    stage.pushed(3, 1, 10);
    assert_eq!(proposals(&stage.acknowledge(3, 1, 10, 10)), [], "fenced");
    let effects = stage.image(|view| {
        if let Some(broker) = view.brokers.get_mut(&NodeId(3)) {
            broker.state = crate::BrokerState::Active;
        }
    });
    assert_eq!(proposals(&effects), [proposal(1, 3, &[1, 2, 3], &[])]);
}

#[test]
fn an_unknown_outcome_counts_the_union_until_the_stream_settles_it() {
    let mut stage = two_in_sync();
    stage.subscribe(3, 1, 0, -1);
    stage.acknowledge(3, 1, 0, 0);
    assert_eq!(stage.step(answered(1, AlterOutcome::Unknown)), []);
    // Now the follower dies and is fenced; a second attempt is refused.
    stage.step(Event::FollowerStreamEnded {
        follower: NodeId(3),
        broker_epoch: BrokerEpoch(13),
        subscription: SubscriptionNumber(1),
    });
    let effects = stage.pass_ticking(50);
    assert_eq!(
        proposals(&effects),
        [proposal(2, 2, &[1, 2], &[])],
        "the committed ISR, to settle the question"
    );
    stage.step(answered(2, AlterOutcome::Ineligible));
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    stage.pushed(2, 1, 1);
    stage.flushed(1, 1);
    stage.acknowledge(2, 1, 1, 1);
    assert_eq!(
        stage.replica.high_watermark(),
        HighWatermark(0),
        "the first attempt may still be applied"
    );
    stage.image(|_| {});
    assert_eq!(stage.replica.high_watermark(), HighWatermark(1));
}

#[test]
fn a_certain_refusal_drops_the_proposal() {
    let mut stage = two_in_sync();
    stage.subscribe(3, 1, 0, -1);
    stage.acknowledge(3, 1, 0, 0);
    stage.step(answered(1, AlterOutcome::Ineligible));
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    stage.pushed(2, 1, 1);
    stage.flushed(1, 1);
    stage.acknowledge(2, 1, 1, 1);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(1));
    // Asked again after a while, once it has caught up.
    stage.pushed(3, 1, 1);
    assert_eq!(proposals(&stage.acknowledge(3, 1, 1, 1)), []);
    assert_eq!(proposals(&stage.pass_ticking(50)), [proposal(2, 2, &[1, 2, 3], &[])]);
}

#[test]
fn a_fencing_answer_ends_the_leadership() {
    let mut stage = two_in_sync();
    stage.subscribe(3, 1, 0, -1);
    stage.acknowledge(3, 1, 0, 0);
    stage.produce(1, plain(1), Acks::All);
    let effects = stage.step(answered(1, AlterOutcome::Fenced));
    assert_eq!(completions(&effects).len(), 1);
    assert_eq!(stage.replica.role(), crate::Role::None);
}

#[test]
fn a_member_that_comes_back_with_less_has_lost_data() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.commit(1, 1, 1, 4);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(4));
    let effects = stage.subscribe(3, 2, 2, 5);
    let alarm = Effect::Raise(Alarm::FollowerLostData {
        follower: NodeId(3),
        next_offset: Offset(2),
        high_watermark: HighWatermark(4),
    });
    assert_eq!(effects[..2], [alarm, answer(3, 2, 5, accepted(4))]);
    assert_eq!(proposals(&effects), [proposal(1, 1, &[1, 2], &[3])]);
}

#[test]
fn another_run_of_a_broker_takes_its_acknowledgements_with_it() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    stage.pushed(3, 1, 1);
    stage.acknowledge(3, 1, 1, 1);
    stage.flushed(1, 1);
    let effects = stage.image(|view| {
        if let Some(broker) = view.brokers.get_mut(&NodeId(3)) {
            broker.epoch = BrokerEpoch(99);
        }
    });
    assert_eq!(effects, [answer(3, 1, 5, refused(ErrorCode::StaleBrokerEpoch, 5))]);
    stage.pushed(2, 1, 1);
    assert_eq!(
        completions(&stage.acknowledge(2, 1, 1, 1)),
        [],
        "the former run's flush counts no more"
    );
}

#[test]
fn a_subscription_of_a_newer_registration_waits_for_the_image() {
    let mut stage = Stage::leading();
    let mut subscribe = stage.subscription(3, 1, 0, -1);
    subscribe.broker_epoch = BrokerEpoch(99);
    assert_eq!(stage.step(Event::Subscribe(subscribe)), []);
    let effects = stage.image(|view| {
        if let Some(broker) = view.brokers.get_mut(&NodeId(3)) {
            broker.epoch = BrokerEpoch(99);
        }
    });
    assert_eq!(effects, [answer(3, 1, 5, accepted(0))]);
    let mut old = stage.subscription(3, 2, 0, -1);
    old.broker_epoch = BrokerEpoch(13);
    let effects = stage.step(Event::Subscribe(old));
    assert_eq!(effects, [answer(3, 2, 5, refused(ErrorCode::StaleBrokerEpoch, 5))]);
}

#[test]
fn a_subscription_of_a_newer_epoch_waits_for_the_leadership() {
    let mut stage = Stage::with_log(0, 0);
    let mut subscribe = stage.subscription(2, 1, 0, -1);
    subscribe.leader_epoch = LeaderEpoch(5);
    assert_eq!(stage.step(Event::Subscribe(subscribe)), []);
    let effects = stage.lead(5);
    assert_eq!(effects[0], answer(2, 1, 5, accepted(0)));
    subscribe.leader_epoch = LeaderEpoch(4);
    let effects = stage.step(Event::Subscribe(subscribe));
    assert_eq!(effects, [answer(2, 1, 4, refused(ErrorCode::FencedLeaderEpoch, 5))]);
}

#[test]
fn logs_are_compared_by_epochs() {
    let mut producers = crate::ProducerTable::new(Offset(0));
    producers.replay(
        sequenced(0, 2).assigned(Offset(2), LeaderEpoch(2)).header(),
        Timestamp(1),
    );
    producers.replay(
        sequenced(2, 1).assigned(Offset(29), LeaderEpoch(7)).header(),
        Timestamp(1),
    );
    let mut stage = Stage::open(crate::OpenedLog {
        log_start: LogStartOffset(5),
        log_end: Offset(30),
        flushed: Offset(30),
        epochs: [(2, 5), (4, 10), (7, 20)]
            .map(|(epoch, start)| (LeaderEpoch(epoch), Offset(start)))
            .to_vec(),
        producers,
        high_watermark: HighWatermark(5),
        unflushed_mark: false,
        damaged_from: None,
    });
    stage.lead(9);
    let told = stage.replica.producers().below(Offset(5), 10);
    assert_eq!(told.len(), 1, "of the producer whose records were deleted");
    let diverged = |epoch, end| SubscribeAnswer::Diverged {
        epoch: LeaderEpoch(epoch),
        end_offset: Offset(end),
    };
    let out_of_range = || SubscribeAnswer::OutOfRange {
        log_start: LogStartOffset(5),
        producers: told.clone(),
    };
    let accepted = || SubscribeAnswer::Accepted {
        high_watermark: HighWatermark(5),
        log_start: LogStartOffset(5),
    };
    let cases = [
        (30, 7, accepted()),
        (20, 4, accepted()),
        (15, 4, accepted()),
        (21, 4, diverged(4, 20)),
        (25, 6, diverged(4, 20)),
        (12, 3, diverged(2, 10)),
        (9, 1, out_of_range()),
        (4, 2, out_of_range()),
        (31, 7, diverged(7, 30)),
        (5, -1, accepted()),
        (31, -1, out_of_range()),
    ];
    for (index, (next, last_epoch, expected)) in cases.into_iter().enumerate() {
        let number = index as u64 + 1;
        let effects = stage.subscribe(2, number, next, last_epoch);
        let answered = effects
            .iter()
            .find(|effect| matches!(effect, Effect::AnswerSubscribe { .. }));
        assert_eq!(
            answered,
            Some(&answer(2, number, 9, expected)),
            "next {next}, last epoch {last_epoch}"
        );
    }
}

#[test]
fn a_leader_with_a_slow_disk_asks_to_be_replaced() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, plain(1), Acks::Leader);
    stage.written(1);
    for node in [2, 3] {
        stage.pushed(node, 1, 1);
        stage.acknowledge(node, 1, 1, 1);
    }
    let ask = Effect::AskToBeReplaced {
        leader_epoch: LeaderEpoch(5),
        reason: ReplaceReason::SlowDisk,
    };
    let effects = stage.pass_ticking(2200);
    assert_eq!(effects, std::slice::from_ref(&ask), "its flush is not answered");
    assert_eq!(stage.pass_ticking(2000), [ask]);
}

#[test]
fn claims_of_more_than_was_sent_end_the_subscription() {
    let mut stage = Stage::leading();
    stage.followers_join();
    let effects = stage.acknowledge(2, 1, 1, 1);
    assert_eq!(effects, [answer(2, 1, 5, refused(ErrorCode::InvalidRequest, 5))]);
}
