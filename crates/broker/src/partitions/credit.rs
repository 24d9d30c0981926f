//! Having the credit of what is caught up wait for its turn.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use klamm_replication::{Event, SubscriptionNumber};
use klamm_types::TopicPartition;

use super::shared::Shared;
use crate::pace::turns::{Due, Turns};

/// Whose credit it is.
pub(crate) type Grantee = (TopicPartition, SubscriptionNumber);

pub(crate) type CreditTurns = Mutex<Turns<Grantee>>;

/// Its replica is told when the turn has come.
pub(crate) fn wait_for_turn(shared: &Arc<Shared>, grantee: Grantee, bytes: u64) {
    take_turns(shared, |turns, now| turns.add(grantee, bytes, now));
}

fn take_turns(shared: &Arc<Shared>, change: impl FnOnce(&mut Turns<Grantee>, Instant) -> Due<Grantee>) {
    let due = {
        let mut turns = shared.credit_turns.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut turns, Instant::now())
    };
    let events = due.now.into_iter().map(|((partition, subscription), bytes)| {
        shared.metrics.catch_up_bytes.add(bytes);
        (partition, Event::CreditPaced { subscription, bytes })
    });
    shared.send_events(events, None, None);
    if let Some(pause) = due.come_back_in {
        shared.after(pause, |shared| take_turns(shared, Turns::come_back));
    }
}
