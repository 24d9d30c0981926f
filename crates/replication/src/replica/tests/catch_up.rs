//! A follower far behind: its credit waits for its turn, and its flushes can wait.

use klamm_types::Offset;

use super::follower::{accepted, acknowledgement, answered, batch, message, subscribed};
use super::stage::Stage;
use crate::{Durability, Effect, Event, FlushId, Lane, ReplicaBatches, SubscriptionNumber};

fn size_of_one() -> u64 {
    batch(12, 1, 5).size() as u64
}

#[test]
fn what_is_caught_up_is_paced_and_flushed_apart() {
    let mut stage = Stage::with_log(10, 4);
    stage.replica.limits.unflushed_bytes_max = size_of_one();
    stage.image(|view| view.settings.durability = Durability::Replicated);
    let (number, ..) = subscribed(&stage.follow(2, 5));
    stage.step(answered(number, accepted(900)));
    let behind = |from| ReplicaBatches {
        lane: Lane::CatchUp,
        ..message(number, from, vec![batch(from, 1, 5)], 900)
    };
    let bytes = size_of_one();
    let wait = Effect::PaceCredit {
        subscription: number,
        bytes,
    };
    let paced = |subscription| Event::CreditPaced { subscription, bytes };
    stage.step(Event::ReplicaBatches(behind(10)));
    stage.step(Event::UnflushedMarkSet);
    let written = stage.written(1);
    assert_eq!(written, [wait.clone(), acknowledgement(number, 11, 10, 0)]);
    let former = SubscriptionNumber(number.0 - 1);
    assert_eq!(stage.step(paced(former)), [], "credit of a former subscription");
    let granted = acknowledgement(number, 11, 10, bytes);
    assert_eq!(stage.step(paced(number)), [granted]);

    // The topic's level asks for no flush; the next credit does.
    stage.step(Event::ReplicaBatches(behind(11)));
    let flush = |flush, up_to, lane| Effect::Flush {
        flush: FlushId(flush),
        up_to: Offset(up_to),
        lane,
    };
    let due = flush(1, 12, Lane::CatchUp);
    assert_eq!(stage.written(2), [acknowledgement(number, 12, 10, 0), due]);
    assert_eq!(stage.flushed(1, 12), [wait, acknowledgement(number, 12, 12, 0)]);

    // At the end of the log somebody waits.
    stage.image(|view| view.settings.durability = Durability::Fsync);
    stage.step(Event::ReplicaBatches(message(number, 12, vec![batch(12, 1, 5)], 12)));
    let at_once = flush(2, 13, Lane::InSync);
    assert_eq!(stage.written(3), [acknowledgement(number, 12, 12, bytes), at_once]);
}
