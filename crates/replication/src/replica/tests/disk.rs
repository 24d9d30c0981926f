//! Failed disks, damage, and flushes that somebody else wants.

use klamm_types::{BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset};

use super::stage::{Stage, completions, failed, plain, restart};
use crate::{
    Acks, Alarm, AppendId, Durability, Effect, Event, FlushId, Lane, OpenedLog, ProducerTable, PushFailure, Role,
    SubscriptionNumber,
};

#[test]
fn a_failed_write_or_flush_stops_the_replica() {
    for failure in [
        Event::AppendFailed { append: AppendId(2) },
        Event::FlushFailed { flush: FlushId(1) },
    ] {
        let mut stage = Stage::leading();
        stage.produce(1, plain(1), Acks::All);
        stage.written(1);
        stage.produce(2, plain(1), Acks::All);
        let effects = stage.step(failure);
        let expected = [
            Effect::Raise(Alarm::DiskFailed),
            failed(1, ErrorCode::KafkaStorageError, -1, -1),
            failed(2, ErrorCode::KafkaStorageError, -1, -1),
            Effect::ReportDiskFailure,
            Effect::RoleChanged { role: Role::Stopped },
        ];
        assert_eq!(effects, expected);
        let refusal = failed(3, ErrorCode::KafkaStorageError, -1, -1);
        assert_eq!(stage.produce(3, plain(1), Acks::All), [refusal]);
        stage.lead(6);
        assert_eq!(stage.replica.role(), Role::Stopped, "nothing brings it back");
        assert_eq!(
            stage.pass_ticking(500),
            [Effect::ReportDiskFailure],
            "repeated until an image shows it"
        );
        stage.image(|view| {
            view.leader = Some(NodeId(2));
            view.leader_epoch = LeaderEpoch(7);
            view.isr.remove(&NodeId(1));
        });
        assert_eq!(stage.pass_ticking(5000), []);
    }
}

#[test]
fn damage_is_reported_and_refetched_once_the_replica_counts_for_nothing() {
    let mut stage = Stage::with_log(10, 8);
    stage.lead(5);
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    let effects = stage.step(Event::PushFailed {
        follower: NodeId(2),
        subscription: SubscriptionNumber(1),
        failure: PushFailure::Damaged { from: Offset(6) },
    });
    assert_eq!(effects[0], Effect::Raise(Alarm::Damaged { from: Offset(6) }));
    assert_eq!(
        completions(&effects),
        [failed(1, ErrorCode::NotLeaderOrFollower, -1, -1)]
    );
    assert!(effects.contains(&Effect::ReportDamage { from: Offset(6) }));
    assert_eq!(stage.replica.role(), Role::None);
    stage.flushed(1, 11);

    let effects = stage.follow(2, 6);
    assert_eq!(
        effects,
        [],
        "an image alone is not enough: it may be older than the report"
    );
    stage.view.isr.remove(&NodeId(1));
    stage.step(Event::DamageReported);
    let effects = stage.image(|_| {});
    assert_eq!(effects, [Effect::Truncate { to: Offset(6) }]);
    let effects = stage.step(Event::Truncated {
        log_start: LogStartOffset(0),
        log_end: Offset(6),
        producers: Box::new(ProducerTable::new(Offset(6))),
    });
    assert!(
        matches!(
            effects[0],
            Effect::SubscribeTo {
                next_offset: Offset(6),
                ..
            }
        ),
        "{effects:?}"
    );
}

#[test]
fn damage_found_at_the_start_keeps_the_replica_out_of_every_role() {
    let mut stage = Stage::open(OpenedLog {
        log_end: Offset(10),
        flushed: Offset(10),
        damaged_from: Some(Offset(10)),
        ..OpenedLog::default()
    });
    stage.lead(5);
    assert_eq!(stage.replica.role(), Role::None);
    stage.step(Event::DamageReported);
    stage.image(|view| {
        view.leader = Some(NodeId(2));
        view.leader_epoch = LeaderEpoch(6);
        view.isr.remove(&NodeId(1));
    });
    let truncated = Event::Truncated {
        log_start: LogStartOffset(0),
        log_end: Offset(10),
        producers: Box::new(ProducerTable::new(Offset(10))),
    };
    let effects = stage.step(truncated);
    assert!(matches!(effects[0], Effect::SubscribeTo { .. }), "{effects:?}");
}

#[test]
fn the_replicated_level_counts_what_is_written_and_flushes_when_told() {
    let mut stage = Stage::marked();
    stage.view.settings.durability = Durability::Replicated;
    stage.lead(5);
    stage.followers_join();
    stage.produce(1, plain(1), Acks::All);
    let effects = stage.written(1);
    assert!(
        !effects.iter().any(|effect| matches!(effect, Effect::Flush { .. })),
        "{effects:?}"
    );
    stage.pushed(2, 1, 1);
    stage.pushed(3, 1, 1);
    stage.acknowledge(2, 1, 1, 0);
    assert_eq!(completions(&stage.acknowledge(3, 1, 1, 0)).len(), 1);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(1));
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(1),
        lane: Lane::InSync,
    };
    assert_eq!(stage.step(Event::FlushDue), [flush]);
    assert_eq!(stage.step(Event::FlushDue), [], "one at a time");
}

#[test]
fn a_stricter_level_counts_only_once_everything_is_flushed() {
    let mut stage = Stage::marked();
    stage.view.settings.durability = Durability::Replicated;
    stage.lead(5);
    stage.followers_join();
    stage.produce(1, plain(2), Acks::All);
    stage.written(1);
    stage.pushed(2, 1, 2);
    stage.pushed(3, 1, 2);
    stage.acknowledge(2, 1, 2, 0);
    let effects = stage.image(|view| view.settings.durability = Durability::Fsync);
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(2),
        lane: Lane::InSync,
    };
    assert_eq!(effects, [flush]);
    assert_eq!(completions(&stage.acknowledge(3, 1, 2, 0)), []);
    assert_eq!(stage.flushed(1, 2), [Effect::RemoveUnflushedMark]);
    stage.acknowledge(2, 1, 2, 2);
    assert_eq!(completions(&stage.acknowledge(3, 1, 2, 2)).len(), 1);
}

#[test]
fn a_stricter_level_takes_nothing_back_and_gives_time_to_flush() {
    let mut stage = Stage::marked();
    stage.view.settings.durability = Durability::Replicated;
    stage.lead(5);
    stage.followers_join();
    stage.produce(1, plain(2), Acks::All);
    stage.written(1);
    stage.pushed(2, 1, 2);
    stage.pushed(3, 1, 2);
    stage.acknowledge(2, 1, 2, 0);
    assert_eq!(completions(&stage.acknowledge(3, 1, 2, 0)).len(), 1);
    // Long after, nothing is flushed yet: this was nobody's duty.
    stage.pass_ticking(10_000);
    let effects = stage.image(|view| view.settings.durability = Durability::Fsync);
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(2),
        lane: Lane::InSync,
    };
    assert_eq!(effects, [flush]);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(2));
    assert_eq!(stage.pass_ticking(1_900), []);
    // Behind what has been acknowledged, the next record waits for the flush of all that lies below it.
    stage.produce(2, plain(1), Acks::All);
    stage.written(2);
    stage.pushed(2, 1, 3);
    stage.pushed(3, 1, 3);
    stage.acknowledge(2, 1, 3, 0);
    assert_eq!(completions(&stage.acknowledge(3, 1, 3, 0)), []);
    stage.acknowledge(2, 1, 3, 3);
    stage.acknowledge(3, 1, 3, 3);
    let effects = stage.flushed(1, 2);
    assert!(
        !effects.contains(&Effect::RemoveUnflushedMark),
        "only after a flush of everything: {effects:?}"
    );
    let effects = stage.flushed(2, 3);
    assert_eq!(completions(&effects).len(), 1);
    assert!(effects.contains(&Effect::RemoveUnflushedMark), "{effects:?}");
}

#[test]
fn without_its_mark_a_replica_counts_what_is_flushed_at_any_level() {
    let mut stage = Stage::with_log(0, 0);
    stage.view.settings.durability = Durability::Replicated;
    stage.lead(5);
    stage.followers_join();
    let effects = stage.produce(1, plain(1), Acks::All);
    assert!(effects.contains(&Effect::SetUnflushedMark), "{effects:?}");
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(1),
        lane: Lane::InSync,
    };
    let effects = stage.written(1);
    assert!(effects.contains(&flush), "{effects:?}");
    stage.pushed(2, 1, 1);
    stage.pushed(3, 1, 1);
    stage.acknowledge(2, 1, 1, 0);
    assert_eq!(completions(&stage.acknowledge(3, 1, 1, 0)), []);
    assert_eq!(completions(&stage.step(Event::UnflushedMarkSet)).len(), 1);
    stage.flushed(1, 1);
    // Back at the stricter level the mark goes, and while it goes nothing rests on it.
    assert_eq!(
        stage.image(|view| view.settings.durability = Durability::Fsync),
        [Effect::RemoveUnflushedMark]
    );
    assert_eq!(
        stage.image(|view| view.settings.durability = Durability::Replicated),
        []
    );
    let effects = stage.produce(2, plain(1), Acks::All);
    assert!(!effects.contains(&Effect::SetUnflushedMark), "{effects:?}");
    stage.written(2);
    assert_eq!(stage.step(Event::UnflushedMarkRemoved), [Effect::SetUnflushedMark]);
}

#[test]
fn a_mark_found_at_the_start_stays_until_a_registration_has_told_of_it() {
    let marked = OpenedLog {
        log_end: Offset(3),
        flushed: Offset(1),
        epochs: vec![(LeaderEpoch(1), Offset(0))],
        unflushed_mark: true,
        ..OpenedLog::default()
    };
    let mut stage = Stage::unregistered(marked);
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(3),
        lane: Lane::InSync,
    };
    // The image shows the former process's registration and the level `fsync`.
    assert_eq!(stage.image(|view| view.leader = Some(NodeId(2))), [flush]);
    assert_eq!(
        stage.flushed(1, 3),
        [],
        "what is left is flushed, what the machine lost is untold"
    );
    assert_eq!(stage.image(|view| view.isr.clear()), []);
    let broker_epoch = BrokerEpoch(14);
    assert_eq!(
        stage.step(Event::Registered { broker_epoch }),
        [Effect::RemoveUnflushedMark]
    );
    assert_eq!(stage.step(Event::UnflushedMarkRemoved), []);
}

#[test]
fn a_mark_that_cannot_be_set_stops_the_replica() {
    let mut stage = Stage::with_log(0, 0);
    stage.view.settings.durability = Durability::Replicated;
    stage.lead(5);
    stage.followers_join();
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    let effects = stage.step(Event::DiskFailed);
    assert_eq!(completions(&effects), [failed(1, ErrorCode::KafkaStorageError, -1, -1)]);
    assert_eq!(stage.step(Event::UnflushedMarkSet), []);
    assert_eq!(stage.replica.role(), Role::Stopped);
}

#[test]
fn damage_below_the_log_start_is_left_behind_with_the_whole_log() {
    let mut stage = Stage::open(OpenedLog {
        log_start: LogStartOffset(20),
        log_end: Offset(30),
        flushed: Offset(30),
        producers: ProducerTable::new(Offset(30)),
        damaged_from: Some(Offset(5)),
        ..OpenedLog::default()
    });
    stage.step(Event::DamageReported);
    let effects = stage.image(|view| {
        view.leader = Some(NodeId(2));
        view.isr.remove(&NodeId(1));
    });
    assert_eq!(effects, [restart(20)]);
    let effects = stage.step(Event::Truncated {
        log_start: LogStartOffset(20),
        log_end: Offset(20),
        producers: Box::new(ProducerTable::new(Offset(20))),
    });
    assert!(
        matches!(
            effects[0],
            Effect::SubscribeTo {
                next_offset: Offset(20),
                ..
            }
        ),
        "{effects:?}"
    );
}
