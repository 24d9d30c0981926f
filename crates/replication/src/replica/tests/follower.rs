//! A follower: comparing, cutting, appending, acknowledging, and dropping what is not meant for it.

use klamm_record::Batch;
use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, Timestamp};

use super::stage::{Stage, failed, plain, refused, restart, sequenced};
use crate::{
    Acks, Alarm, AppendId, Durability, Effect, Event, FlushId, Lane, OpenedLog, ProducerTable, ReplicaBatches, Role,
    SubscribeAnswer, SubscriptionNumber,
};

/// The number of the subscription in these effects.
pub(super) fn subscribed(effects: &[Effect]) -> (SubscriptionNumber, Offset, LeaderEpoch) {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::SubscribeTo {
            subscription,
            next_offset,
            last_epoch,
            ..
        } => Some((*subscription, *next_offset, *last_epoch)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no subscription in {effects:?}"))
}

pub(super) fn answered(subscription: SubscriptionNumber, answer: SubscribeAnswer) -> Event {
    Event::SubscribeAnswered {
        leader: NodeId(2),
        subscription,
        leader_epoch: LeaderEpoch(5),
        answer,
    }
}

pub(super) fn accepted(high_watermark: i64) -> SubscribeAnswer {
    SubscribeAnswer::Accepted {
        high_watermark: HighWatermark(high_watermark),
        log_start: LogStartOffset(0),
    }
}

pub(super) fn message(
    subscription: SubscriptionNumber,
    from: i64,
    batches: Vec<Batch>,
    high_watermark: i64,
) -> ReplicaBatches {
    ReplicaBatches {
        leader: NodeId(2),
        lane: Lane::InSync,
        subscription,
        leader_epoch: LeaderEpoch(5),
        from: Offset(from),
        batches,
        high_watermark: HighWatermark(high_watermark),
        log_start: LogStartOffset(0),
    }
}

pub(super) fn batch(base: i64, count: usize, epoch: i32) -> Batch {
    plain(count).assigned(Offset(base), LeaderEpoch(epoch))
}

/// Follows broker 2 in epoch 5 with a log of ten records of epoch 1.
fn streaming() -> (Stage, SubscriptionNumber) {
    let mut stage = Stage::with_log(10, 4);
    let (number, ..) = subscribed(&stage.follow(2, 5));
    stage.step(answered(number, accepted(6)));
    (stage, number)
}

pub(super) fn acknowledgement(number: SubscriptionNumber, written: i64, flushed: i64, credit_bytes: u64) -> Effect {
    Effect::Acknowledge {
        leader: NodeId(2),
        subscription: number,
        leader_epoch: LeaderEpoch(5),
        written: Offset(written),
        flushed: Offset(flushed),
        credit_bytes,
    }
}

#[test]
fn written_and_flushed_are_acknowledged_apart() {
    let mut stage = Stage::with_log(10, 4);
    let effects = stage.follow(2, 5);
    let (number, next, last_epoch) = subscribed(&effects);
    assert_eq!((next, last_epoch), (Offset(10), LeaderEpoch(1)));
    assert_eq!(
        stage.step(answered(number, accepted(6))),
        [acknowledgement(number, 10, 10, 0)]
    );
    assert_eq!(stage.replica.high_watermark(), HighWatermark(6));

    let pushed = batch(10, 2, 5);
    let size = pushed.size() as u64;
    let effects = stage.step(Event::ReplicaBatches(message(number, 10, vec![pushed.clone()], 12)));
    let append = Effect::Append {
        append: AppendId(1),
        batches: vec![pushed],
    };
    assert_eq!(effects, [append]);
    assert_eq!(
        stage.replica.high_watermark(),
        HighWatermark(10),
        "no further than what is written"
    );
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(12),
        lane: Lane::InSync,
    };
    // The leader may count by what is written although this replica knows of no such level: without the mark only
    // what is flushed is named. The credit does not wait for that.
    let written = stage.written(1);
    assert_eq!(written, [acknowledgement(number, 10, 10, size), flush]);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(12));
    assert_eq!(stage.flushed(1, 12), [acknowledgement(number, 12, 12, 0)]);

    stage.image(|view| view.settings.durability = Durability::Replicated);
    stage.step(Event::ReplicaBatches(message(number, 12, vec![batch(12, 1, 5)], 12)));
    assert_eq!(stage.step(Event::UnflushedMarkSet), []);
    let size = batch(12, 1, 5).size() as u64;
    assert_eq!(stage.written(2), [acknowledgement(number, 13, 12, size)]);
}

#[test]
fn diverging_logs_are_cut_in_rounds_before_anything_is_appended() {
    let epochs = [(1, 0), (3, 10), (6, 20)].map(|(epoch, start)| (LeaderEpoch(epoch), Offset(start)));
    let mut stage = Stage::open(OpenedLog {
        log_end: Offset(30),
        flushed: Offset(30),
        epochs: epochs.to_vec(),
        high_watermark: HighWatermark(5),
        ..OpenedLog::default()
    });
    stage.view.leader_epoch = LeaderEpoch(7);
    let answer_in = |number, answer| Event::SubscribeAnswered {
        leader: NodeId(2),
        subscription: number,
        leader_epoch: LeaderEpoch(7),
        answer,
    };
    let (first, ..) = subscribed(&stage.follow(2, 7));
    let diverged = |epoch, end| SubscribeAnswer::Diverged {
        epoch: LeaderEpoch(epoch),
        end_offset: Offset(end),
    };
    let effects = stage.step(answer_in(first, diverged(5, 25)));
    assert_eq!(
        effects,
        [Effect::Truncate { to: Offset(20) }],
        "what this log has of epochs up to 5 ends at 20"
    );
    let nothing = stage.step(Event::ReplicaBatches(ReplicaBatches {
        leader_epoch: LeaderEpoch(7),
        ..message(first, 30, vec![batch(30, 1, 7)], 5)
    }));
    assert_eq!(nothing, [], "nothing is appended meanwhile");
    let truncated = |end| Event::Truncated {
        log_start: LogStartOffset(0),
        log_end: Offset(end),
        producers: Box::new(ProducerTable::new(Offset(end))),
    };
    let (second, next, last_epoch) = subscribed(&stage.step(truncated(20)));
    assert!(second > first);
    assert_eq!((next, last_epoch), (Offset(20), LeaderEpoch(3)));
    let effects = stage.step(answer_in(second, diverged(3, 13)));
    assert_eq!(effects, [Effect::Truncate { to: Offset(13) }]);
    let (_, next, last_epoch) = subscribed(&stage.step(truncated(13)));
    assert_eq!((next, last_epoch), (Offset(13), LeaderEpoch(3)));
}

#[test]
fn a_cut_waits_for_the_flush_under_way() {
    let (mut stage, number) = streaming();
    stage.step(Event::ReplicaBatches(message(number, 10, vec![batch(10, 2, 5)], 6)));
    stage.written(1);
    let effects = stage.follow(3, 6);
    let (number, ..) = subscribed(&effects);
    let diverged = Event::SubscribeAnswered {
        leader: NodeId(3),
        subscription: number,
        leader_epoch: LeaderEpoch(6),
        answer: SubscribeAnswer::Diverged {
            epoch: LeaderEpoch(1),
            end_offset: Offset(8),
        },
    };
    assert_eq!(stage.step(diverged), []);
    assert_eq!(stage.flushed(1, 12), [Effect::Truncate { to: Offset(8) }]);
}

#[test]
fn cutting_what_was_committed_raises_an_alarm() {
    let (mut stage, _) = streaming();
    let (number, ..) = subscribed(&stage.follow(2, 6));
    let effects = stage.step(Event::SubscribeAnswered {
        leader: NodeId(2),
        subscription: number,
        leader_epoch: LeaderEpoch(6),
        answer: SubscribeAnswer::Diverged {
            epoch: LeaderEpoch(1),
            end_offset: Offset(3),
        },
    });
    let alarm = Alarm::CutBelowHighWatermark {
        to: Offset(3),
        high_watermark: HighWatermark(6),
    };
    assert_eq!(effects, [Effect::Raise(alarm), Effect::Truncate { to: Offset(3) }]);
}

/// It cut at its own log start, which changed nothing, and subscribed again with the same log, for ever.
#[test]
fn a_log_that_begins_behind_the_divergence_begins_anew() {
    let mut stage = Stage::open(OpenedLog {
        log_start: LogStartOffset(17),
        log_end: Offset(20),
        flushed: Offset(20),
        epochs: vec![(LeaderEpoch(3), Offset(17))],
        high_watermark: HighWatermark(17),
        ..OpenedLog::default()
    });
    let (number, ..) = subscribed(&stage.follow(2, 6));
    let effects = stage.step(Event::SubscribeAnswered {
        leader: NodeId(2),
        subscription: number,
        leader_epoch: LeaderEpoch(6),
        answer: SubscribeAnswer::Diverged {
            epoch: LeaderEpoch(3),
            end_offset: Offset(14),
        },
    });
    let alarm = Alarm::CutBelowHighWatermark {
        to: Offset(14),
        high_watermark: HighWatermark(17),
    };
    assert_eq!(
        effects,
        [Effect::Raise(alarm), restart(14)],
        "the leader was elected with loss and ends before this log begins"
    );
    let effects = stage.step(Event::Truncated {
        log_start: LogStartOffset(14),
        log_end: Offset(14),
        producers: Box::new(ProducerTable::new(Offset(14))),
    });
    let (_, next, last_epoch) = subscribed(&effects);
    assert_eq!((next, last_epoch), (Offset(14), LeaderEpoch::NONE));
}

/// Found by simulation: the log was cut at its start, where its files still held deleted records of an epoch that the
/// leader does not know. It told of that epoch again and was sent to cut again, for ever.
#[test]
fn a_log_that_parts_at_its_own_start_begins_anew() {
    let mut stage = Stage::open(OpenedLog {
        log_start: LogStartOffset(12),
        log_end: Offset(42),
        flushed: Offset(42),
        epochs: vec![(LeaderEpoch(4), Offset(10))],
        high_watermark: HighWatermark(12),
        ..OpenedLog::default()
    });
    let (number, ..) = subscribed(&stage.follow(2, 5));
    let effects = stage.step(answered(
        number,
        SubscribeAnswer::Diverged {
            epoch: LeaderEpoch(3),
            end_offset: Offset(51),
        },
    ));
    assert_eq!(effects, [restart(12)]);
}

/// Streams from broker 2 in epoch 5 with a log of which everything is deleted: records up to 12, of epoch 4.
fn emptied() -> (Stage, SubscriptionNumber) {
    let mut stage = Stage::open(OpenedLog {
        log_start: LogStartOffset(12),
        log_end: Offset(12),
        flushed: Offset(12),
        epochs: vec![(LeaderEpoch(4), Offset(10))],
        high_watermark: HighWatermark(12),
        ..OpenedLog::default()
    });
    let (number, next, last_epoch) = subscribed(&stage.follow(2, 5));
    assert_eq!((next, last_epoch), (Offset(12), LeaderEpoch::NONE));
    stage.step(answered(number, accepted(20)));
    (stage, number)
}

/// Found by simulation: after an election with loss the leader had a batch that began below the empty log and ended
/// above. The follower refused it and subscribed at the same offset again, for ever.
#[test]
fn an_empty_log_begins_with_the_batch_that_it_lies_in() {
    let (mut stage, number) = emptied();
    let pushed = message(number, 12, vec![batch(10, 3, 4), batch(13, 1, 5)], 20);
    let alarm = Alarm::CutBelowHighWatermark {
        to: Offset(10),
        high_watermark: HighWatermark(12),
    };
    assert_eq!(
        stage.step(Event::ReplicaBatches(pushed)),
        [Effect::Raise(alarm), restart(10)]
    );
    let effects = stage.step(Event::Truncated {
        log_start: LogStartOffset(10),
        log_end: Offset(10),
        producers: Box::new(ProducerTable::new(Offset(10))),
    });
    let (_, next, last_epoch) = subscribed(&effects);
    assert_eq!((next, last_epoch), (Offset(10), LeaderEpoch::NONE));
}

#[test]
fn an_empty_log_takes_no_older_epoch_than_its_deleted_records() {
    let (mut stage, number) = emptied();
    let older = message(number, 12, vec![batch(12, 1, 3)], 20);
    assert_eq!(
        stage.step(Event::ReplicaBatches(older)),
        [restart(12)],
        "its files may still hold records of epoch 4, and nothing older may come behind them"
    );

    let (mut stage, number) = emptied();
    let same = message(number, 12, vec![batch(12, 1, 4)], 20);
    let effects = stage.step(Event::ReplicaBatches(same));
    assert!(matches!(effects[..], [Effect::Append { .. }]), "{effects:?}");
}

#[test]
fn a_log_that_the_leader_cannot_continue_begins_anew() {
    let (mut stage, number) = streaming();
    let (number, ..) = {
        stage.step(Event::StreamLost {
            leader: NodeId(2),
            subscription: number,
        });
        subscribed(&stage.pass_ticking(20))
    };
    let out_of_range = SubscribeAnswer::OutOfRange {
        log_start: LogStartOffset(50),
        producers: ProducerTable::new(Offset(50)),
    };
    assert_eq!(stage.step(answered(number, out_of_range)), [restart(50)]);
    let effects = stage.step(Event::Truncated {
        log_start: LogStartOffset(50),
        log_end: Offset(50),
        producers: Box::new(ProducerTable::new(Offset(50))),
    });
    let (_, next, last_epoch) = subscribed(&effects);
    assert_eq!((next, last_epoch), (Offset(50), LeaderEpoch::NONE));
    assert_eq!(stage.replica.high_watermark(), HighWatermark(50));
}

#[test]
fn what_is_not_of_the_newest_subscription_is_dropped() {
    let (mut stage, number) = streaming();
    let older = SubscriptionNumber(number.0 - 1);
    assert_eq!(
        stage.step(Event::ReplicaBatches(message(older, 10, vec![batch(10, 1, 5)], 10))),
        []
    );
    let stale = ReplicaBatches {
        leader: NodeId(3),
        leader_epoch: LeaderEpoch(4),
        ..message(older, 10, vec![batch(10, 1, 4)], 10)
    };
    let away = Effect::UnsubscribeFrom {
        leader: NodeId(3),
        subscription: older,
        leader_epoch: LeaderEpoch(5),
    };
    assert_eq!(
        stage.step(Event::ReplicaBatches(stale)),
        [away],
        "a deposed leader is told so"
    );
}

#[test]
fn repetitions_are_passed_over_and_gaps_end_the_subscription() {
    let (mut stage, number) = streaming();
    stage.step(Event::ReplicaBatches(message(number, 10, vec![batch(10, 2, 5)], 6)));
    assert_eq!(
        stage.step(Event::ReplicaBatches(message(number, 10, vec![batch(10, 2, 5)], 6))),
        []
    );
    let effects = stage.step(Event::ReplicaBatches(message(number, 13, vec![batch(13, 1, 5)], 6)));
    assert!(matches!(effects[..], [Effect::UnsubscribeFrom { .. }]), "{effects:?}");
    let (_, next, _) = subscribed(&stage.pass_ticking(20));
    assert_eq!(next, Offset(12));
}

#[test]
fn falling_epochs_are_refused() {
    let (mut stage, number) = streaming();
    let effects = stage.step(Event::ReplicaBatches(message(number, 10, vec![batch(10, 1, 0)], 6)));
    assert!(matches!(effects[..], [Effect::UnsubscribeFrom { .. }]), "{effects:?}");
}

#[test]
fn a_refusal_is_followed_by_another_try() {
    let mut stage = Stage::with_log(10, 4);
    let (first, ..) = subscribed(&stage.follow(2, 5));
    let refusal = refused(ErrorCode::ReplicaNotAvailable, 5);
    assert_eq!(stage.step(answered(first, refusal)), []);
    let (second, ..) = subscribed(&stage.pass_ticking(20));
    assert!(second > first);
}

#[test]
fn a_new_epoch_of_the_same_leader_compares_again() {
    let (mut stage, number) = streaming();
    let effects = stage.follow(2, 6);
    let away = Effect::UnsubscribeFrom {
        leader: NodeId(2),
        subscription: number,
        leader_epoch: LeaderEpoch(6),
    };
    assert_eq!(effects[0], away);
    subscribed(&effects);
}

/// Found by simulation: an epoch that was led without a record left its mark in the table of epochs, and records of
/// an older epoch, appended later, were taken for its own.
#[test]
fn an_epoch_led_without_a_record_leaves_no_trace() {
    let mut stage = Stage::with_log(10, 10);
    stage.lead(6);
    stage.follow(2, 7);
    assert_eq!(
        stage.replica.role(),
        Role::Follower {
            leader: NodeId(2),
            leader_epoch: LeaderEpoch(7)
        }
    );
    assert_eq!(stage.replica.epochs(), [(LeaderEpoch(1), Offset(0))]);
}

#[test]
fn the_leaders_log_start_is_followed() {
    let (mut stage, number) = streaming();
    let moved = ReplicaBatches {
        log_start: LogStartOffset(3),
        ..message(number, 0, Vec::new(), 6)
    };
    let advance = Effect::AdvanceLogStart { to: LogStartOffset(3) };
    assert_eq!(stage.step(Event::ReplicaBatches(moved.clone())), [advance]);
    assert_eq!(stage.step(Event::ReplicaBatches(moved)), []);
    stage.step(Event::LogStartAdvanced {
        log_start: LogStartOffset(3),
    });
    assert_eq!(stage.replica.log_start(), LogStartOffset(3));
}

/// Found by simulation: a producer was turned away here, its batches were written at another leader and deleted, and
/// this log began behind them. For thirty seconds the producer's next batch counted as one that came too early.
#[test]
fn a_log_that_begins_anew_knows_the_producers_of_what_was_deleted() {
    let mut stage = Stage::with_log(0, 0);
    stage.produce(1, sequenced(0, 2), Acks::All);
    let (number, ..) = subscribed(&stage.follow(2, 5));
    let mut producers = ProducerTable::new(Offset(0));
    producers.replay(
        sequenced(0, 2).assigned(Offset(10), LeaderEpoch(4)).header(),
        Timestamp(1),
    );
    producers.replay(
        sequenced(2, 3).assigned(Offset(12), LeaderEpoch(4)).header(),
        Timestamp(1),
    );
    let told = producers.below(Offset(12), 10);
    let answer = SubscribeAnswer::OutOfRange {
        log_start: LogStartOffset(12),
        producers: told.clone(),
    };
    let wanted = Effect::RestartLog {
        at: Offset(12),
        producers: told.clone(),
    };
    assert_eq!(stage.step(answered(number, answer)), [wanted]);
    stage.step(Event::Truncated {
        log_start: LogStartOffset(12),
        log_end: Offset(12),
        producers: Box::new(told),
    });
    stage.lead(6);
    let early = failed(2, ErrorCode::OutOfOrderSequenceNumber, -1, 12);
    assert_eq!(
        stage.produce(2, sequenced(5, 1), Acks::All),
        [early],
        "2 to 4 are missing"
    );
    let effects = stage.produce(3, sequenced(2, 3), Acks::All);
    assert!(matches!(effects[..], [Effect::Append { .. }]), "{effects:?}");
}
