//! A leader: appending, waiting, answering, stepping down.

use std::time::Duration;

use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, Timestamp};

use super::stage::{Stage, accepted, answer, completed, completions, failed, plain, refused, sequenced};
use crate::{
    Acks, AppendId, Effect, Event, FlushId, Isolation, Lane, LatestOffset, Limits, Origin, Produce, ProduceError,
    Produced, RequestId, Role, SubscriptionNumber,
};

#[test]
fn a_batch_goes_its_way() {
    let mut stage = Stage::leading();
    stage.followers_join();
    let batch = plain(2);
    let stamped = batch.clone().assigned(Offset(0), LeaderEpoch(5));
    assert_eq!(
        stage.produce(1, batch, Acks::All),
        [Effect::Append {
            append: AppendId(1),
            batches: vec![stamped]
        }]
    );
    let push = |node| Effect::Push {
        follower: NodeId(node),
        subscription: SubscriptionNumber(1),
        leader_epoch: LeaderEpoch(5),
        lane: Lane::InSync,
        from: Offset(0),
        up_to: Offset(2),
        bytes_max: 1 << 20,
        high_watermark: HighWatermark(0),
        log_start: LogStartOffset(0),
    };
    let flush = Effect::Flush {
        flush: FlushId(1),
        up_to: Offset(2),
        lane: Lane::InSync,
    };
    assert_eq!(
        stage.written(1),
        [push(2), push(3), flush],
        "nothing is pushed before it is written"
    );
    assert_eq!(stage.pushed(2, 1, 2), []);
    assert_eq!(stage.pushed(3, 1, 2), []);
    assert_eq!(stage.flushed(1, 2), [], "its own flush is not enough");
    assert_eq!(stage.acknowledge(2, 1, 2, 2), [], "nor is one follower's");
    assert_eq!(stage.acknowledge(3, 1, 2, 0), [], "nor what is only written");
    let news = |node| Effect::PushHighWatermark {
        follower: NodeId(node),
        subscription: SubscriptionNumber(1),
        leader_epoch: LeaderEpoch(5),
        lane: Lane::InSync,
        high_watermark: HighWatermark(2),
        log_start: LogStartOffset(0),
    };
    assert_eq!(stage.acknowledge(3, 1, 2, 2), [completed(1, 0, 2, 5), news(2), news(3)]);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(2));
}

#[test]
fn acks_one_waits_for_the_leaders_own_flush_and_acks_none_for_the_write() {
    let mut stage = Stage::leading();
    stage.produce(1, plain(1), Acks::Leader);
    stage.produce(2, plain(1), Acks::None);
    assert_eq!(completions(&stage.written(1)), []);
    assert_eq!(completions(&stage.written(2)), [completed(2, 1, 2, 5)]);
    assert_eq!(completions(&stage.flushed(1, 1)), [completed(1, 0, 1, 5)]);
}

#[test]
fn a_flush_covers_only_what_was_written() {
    let mut stage = Stage::leading();
    stage.produce(1, plain(1), Acks::Leader);
    stage.produce(2, plain(1), Acks::Leader);
    stage.written(1);
    // The flush covered more than the replica knows to be written.
    let effects = stage.flushed(1, 2);
    assert_eq!(completions(&effects), [completed(1, 0, 1, 5)]);
    assert_eq!(stage.replica.flushed(), Offset(1));
}

#[test]
fn too_few_in_sync_replicas_refuse_before_the_append() {
    let mut stage = Stage::leading();
    stage.image(|view| view.isr = [NodeId(1)].into());
    let refusal = failed(1, ErrorCode::NotEnoughReplicas, -1, 0);
    assert_eq!(stage.produce(1, plain(1), Acks::All), [refusal]);
    let effects = stage.produce(2, plain(1), Acks::Leader);
    assert!(
        matches!(effects[..], [Effect::Append { .. }]),
        "acks=1 is accepted: {effects:?}"
    );
    stage.written(1);
    stage.flushed(1, 1);
    assert_eq!(
        stage.replica.high_watermark(),
        HighWatermark(0),
        "and the high watermark stands still for it too"
    );
    stage.image(|view| view.settings.min_insync_replicas = 1);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(1));
}

#[test]
fn a_time_out_tells_the_real_offset_and_the_batch_stays() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    stage.pushed(2, 1, 1);
    stage.pushed(3, 1, 1);
    stage.flushed(1, 1);
    let effects = stage.pass_ticking(100);
    assert_eq!(effects, [failed(1, ErrorCode::RequestTimedOut, 0, 0)]);
    stage.acknowledge(2, 1, 1, 1);
    assert_eq!(completions(&stage.acknowledge(3, 1, 1, 1)), []);
    assert_eq!(stage.replica.high_watermark(), HighWatermark(1));
}

#[test]
fn no_time_at_all_is_over_at_once() {
    let mut stage = Stage::leading();
    let effects = stage.step(Event::Produce(Box::new(Produce {
        request: RequestId(1),
        batch: plain(1),
        acks: Acks::All,
        timeout: Duration::ZERO,
        origin: Origin::Client,
        disk_full: false,
    })));
    assert_eq!(completions(&effects), [failed(1, ErrorCode::RequestTimedOut, 0, 0)]);
}

#[test]
fn a_duplicate_is_answered_only_once_the_original_is_committed() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, sequenced(0, 2), Acks::All);
    assert_eq!(
        stage.produce(2, sequenced(0, 2), Acks::All),
        [],
        "it waits, and is not appended"
    );
    stage.written(1);
    stage.pushed(2, 1, 2);
    stage.pushed(3, 1, 2);
    stage.flushed(1, 2);
    stage.acknowledge(2, 1, 2, 2);
    let duplicate = |request| Effect::CompleteProduce {
        request: RequestId(request),
        result: Ok(Produced {
            base_offset: Offset(0),
            next_offset: Offset(2),
            leader_epoch: LeaderEpoch(5),
            log_append_time: Timestamp(77),
            log_start: LogStartOffset(0),
        }),
    };
    let effects = stage.acknowledge(3, 1, 2, 2);
    assert_eq!(completions(&effects), [completed(1, 0, 2, 5), duplicate(2)]);
    assert_eq!(
        stage.produce(3, sequenced(0, 2), Acks::All),
        [duplicate(3)],
        "now it is known at once"
    );
    let out_of_order = failed(4, ErrorCode::OutOfOrderSequenceNumber, -1, 0);
    assert_eq!(stage.produce(4, sequenced(3, 1), Acks::All), [out_of_order]);
}

#[test]
fn a_full_disk_refuses_and_later_batches_do_not_come_before_the_refused() {
    let mut stage = Stage::leading();
    let produce = |request, batch, disk_full| {
        Event::Produce(Box::new(Produce {
            request: RequestId(request),
            batch,
            acks: Acks::All,
            timeout: Duration::from_millis(100),
            origin: Origin::Client,
            disk_full,
        }))
    };
    let refused = failed(1, ErrorCode::KafkaStorageError, -1, 0);
    assert_eq!(stage.step(produce(1, sequenced(0, 2), true)), [refused]);
    let out_of_order = failed(2, ErrorCode::OutOfOrderSequenceNumber, -1, 0);
    assert_eq!(stage.step(produce(2, sequenced(2, 2), false)), [out_of_order]);
    let effects = stage.step(produce(3, sequenced(0, 2), false));
    assert!(matches!(effects[..], [Effect::Append { .. }, ..]), "{effects:?}");
}

#[test]
fn a_producer_turned_away_at_its_beginning_does_not_begin_in_the_middle() {
    let mut stage = Stage::with_log(0, 0);
    let not_leader = failed(1, ErrorCode::NotLeaderOrFollower, -1, -1);
    assert_eq!(stage.produce(1, sequenced(0, 2), Acks::All), [not_leader]);
    stage.lead(5);
    let out_of_order = failed(2, ErrorCode::OutOfOrderSequenceNumber, -1, 0);
    assert_eq!(stage.produce(2, sequenced(2, 1), Acks::All), [out_of_order]);
    assert!(matches!(
        stage.produce(3, sequenced(0, 2), Acks::All)[..],
        [Effect::Append { .. }]
    ));
    assert!(matches!(
        stage.produce(4, sequenced(2, 1), Acks::All)[..],
        [Effect::Append { .. }]
    ));
}

#[test]
fn stepping_down_answers_everybody_first() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    let parked = Event::ParkFetch {
        request: RequestId(7),
        beyond: Offset(0),
        isolation: Isolation::ReadUncommitted,
    };
    assert_eq!(stage.step(parked), []);
    let effects = stage.follow(2, 6);
    let expected = [
        failed(1, ErrorCode::NotLeaderOrFollower, -1, -1),
        answer(2, 1, 5, refused(ErrorCode::NotLeaderOrFollower, 6)),
        answer(3, 1, 5, refused(ErrorCode::NotLeaderOrFollower, 6)),
        Effect::WakeFetch { request: RequestId(7) },
    ];
    assert_eq!(effects[..4], expected);
    assert!(
        matches!(effects[4], Effect::SubscribeTo { leader: NodeId(2), .. }),
        "{effects:?}"
    );
    // An acknowledgement of the former epoch completes nothing.
    assert_eq!(completions(&stage.acknowledge(3, 1, 1, 1)), []);
}

#[test]
fn a_newer_epoch_from_anyone_ends_the_leadership_at_once() {
    for event in [
        Event::NewerLeaderEpoch {
            leader_epoch: LeaderEpoch(6),
        },
        Event::Unsubscribe {
            follower: NodeId(2),
            subscription: SubscriptionNumber(1),
            leader_epoch: LeaderEpoch(6),
        },
    ] {
        let mut stage = Stage::leading();
        stage.produce(1, plain(1), Acks::All);
        let effects = stage.step(event);
        assert_eq!(
            completions(&effects),
            [failed(1, ErrorCode::NotLeaderOrFollower, -1, -1)]
        );
        assert_eq!(stage.replica.role(), Role::None);
    }
}

#[test]
fn a_role_waits_for_appends_under_way() {
    let mut stage = Stage::leading();
    stage.produce(1, plain(1), Acks::All);
    let effects = stage.follow(2, 6);
    assert_eq!(effects.last(), Some(&Effect::RoleChanged { role: Role::None }));
    let effects = stage.written(1);
    assert!(
        matches!(
            effects[0],
            Effect::SubscribeTo {
                next_offset: Offset(1),
                last_epoch: LeaderEpoch(5),
                ..
            }
        ),
        "{effects:?}"
    );
}

#[test]
fn a_leader_epoch_is_led_once() {
    let mut stage = Stage::leading();
    // Another process registered under this id; then the image shows this one again, with the old leadership.
    stage.image(|view| {
        view.brokers.remove(&NodeId(1));
    });
    assert_eq!(stage.replica.role(), Role::None);
    let brokers = super::stage::view().brokers;
    let effects = stage.image(|view| view.brokers = brokers);
    assert!(matches!(effects[..], [Effect::AskToBeReplaced { .. }]), "{effects:?}");
}

#[test]
fn nothing_is_led_before_the_image_shows_the_registration() {
    let mut stage = Stage::with_log(0, 0);
    stage.step(Event::Registered {
        broker_epoch: klamm_types::BrokerEpoch(20),
    });
    stage.lead(5);
    assert_eq!(stage.replica.role(), Role::None);
    stage.image(|view| {
        if let Some(broker) = view.brokers.get_mut(&NodeId(1)) {
            broker.epoch = klamm_types::BrokerEpoch(20);
        }
    });
    assert_eq!(
        stage.replica.role(),
        Role::Leader {
            leader_epoch: LeaderEpoch(5)
        }
    );
}

#[test]
fn a_new_leader_does_not_tell_the_latest_offset_before_it_knows_it() {
    let mut stage = Stage::with_log(10, 4);
    stage.lead(5);
    let latest = |stage: &Stage| stage.replica.latest_offset_answer(Isolation::ReadUncommitted);
    assert_eq!(latest(&stage), Err(ErrorCode::OffsetNotAvailable));
    assert_eq!(
        stage.replica.check_fetch_offset(Offset(7)),
        Ok(()),
        "a fetch just finds nothing"
    );
    assert_eq!(stage.replica.fetch_bound(Isolation::ReadUncommitted), Offset(4));
    stage.followers_join();
    let known = LatestOffset {
        offset: Offset(10),
        leader_epoch: LeaderEpoch(5),
    };
    assert_eq!(latest(&stage), Ok(known));
}

#[test]
fn parked_fetches_wake_when_there_is_something_to_read() {
    let mut stage = Stage::leading();
    stage.followers_join();
    let park = |request, beyond| Event::ParkFetch {
        request: RequestId(request),
        beyond: Offset(beyond),
        isolation: Isolation::ReadCommitted,
    };
    stage.step(park(1, 0));
    stage.step(park(2, 1));
    stage.step(park(3, 0));
    stage.step(Event::CancelFetch { request: RequestId(3) });
    let effects = stage.commit(10, 1, 1, 1);
    let woken: Vec<_> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::WakeFetch { .. }))
        .collect();
    assert_eq!(woken, [&Effect::WakeFetch { request: RequestId(1) }]);
    assert_eq!(stage.step(park(4, 0)), [Effect::WakeFetch { request: RequestId(4) }]);
}

#[test]
fn a_coordinator_appends_only_in_the_epoch_it_decided_in() {
    let mut stage = Stage::leading();
    let mut append = |request, epoch| {
        stage.step(Event::Produce(Box::new(Produce {
            request: RequestId(request),
            batch: plain(1),
            acks: Acks::All,
            timeout: Duration::from_secs(5),
            origin: Origin::Coordinator {
                leader_epoch: LeaderEpoch(epoch),
            },
            disk_full: false,
        })))
    };
    assert_eq!(append(1, 4), [failed(1, ErrorCode::NotLeaderOrFollower, -1, -1)]);
    let effects = append(2, 5);
    let told = Effect::ProduceAccepted {
        request: RequestId(2),
        base_offset: Offset(0),
        next_offset: Offset(1),
    };
    assert_eq!(effects[1], told);
}

#[test]
fn waiting_producers_are_bounded() {
    let limits = Limits {
        waiting_produces_max: 1,
        ..Limits::default()
    };
    let mut stage = Stage::leading();
    stage.replica.limits = limits;
    stage.produce(1, plain(1), Acks::All);
    let refusal = Effect::CompleteProduce {
        request: RequestId(2),
        result: Err(ProduceError {
            code: ErrorCode::ThrottlingQuotaExceeded,
            base_offset: Offset::NONE,
            log_start: LogStartOffset(-1),
        }),
    };
    assert_eq!(stage.produce(2, plain(1), Acks::All), [refusal]);
}

#[test]
fn credit_bounds_what_is_under_way() {
    let mut stage = Stage::leading();
    let mut subscribe = stage.subscription(2, 1, 0, -1);
    subscribe.credit_bytes = 150;
    assert_eq!(stage.step(Event::Subscribe(subscribe)), [answer(2, 1, 5, accepted(0))]);
    stage.acknowledge(2, 1, 0, 0);
    let pushes = |effects: &[Effect]| {
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Push { .. }))
            .count()
    };
    for append in 1..=3 {
        stage.produce(append, plain(1), Acks::All);
    }
    assert_eq!(pushes(&stage.written(1)), 1);
    assert_eq!(pushes(&stage.written(2)), 0, "one push at a time");
    assert_eq!(pushes(&stage.pushed(2, 1, 1)), 1, "50 bytes of credit are left");
    stage.written(3);
    assert_eq!(pushes(&stage.pushed(2, 1, 2)), 0, "none are left");
    let granted = Event::Acknowledged(crate::Acknowledge {
        follower: NodeId(2),
        broker_epoch: klamm_types::BrokerEpoch(12),
        subscription: SubscriptionNumber(1),
        leader_epoch: LeaderEpoch(5),
        written: Offset(2),
        flushed: Offset(0),
        credit_bytes: 200,
    });
    assert_eq!(pushes(&stage.step(granted)), 1);
}

#[test]
fn a_push_of_nothing_ends_the_subscription_instead_of_asking_for_ever() {
    let mut stage = Stage::leading();
    stage.followers_join();
    stage.produce(1, plain(1), Acks::All);
    stage.written(1);
    let effects = stage.pushed(2, 1, 0);
    assert_eq!(effects, [answer(2, 1, 5, refused(ErrorCode::OffsetOutOfRange, 5))]);
}
