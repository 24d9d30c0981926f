//! One follower as its leader sees it: how far it is, and the subscription through which it is fed.

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{BrokerEpoch, HighWatermark, LogStartOffset, Moment, Offset};

use crate::effect::Lane;
use crate::event::SubscriptionNumber;
use crate::view::Durability;

/// How far a follower has acknowledged; `flushed <= written`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub written: Offset,
    pub flushed: Offset,
}

impl Acked {
    /// The offset that the topic's level counts.
    pub fn level(self, durability: Durability) -> Offset {
        match durability {
            Durability::Fsync if is_planted(Bug::CountWrittenAsFlushed) => self.written,
            Durability::Fsync => self.flushed,
            Durability::Replicated => self.written,
        }
    }
}

/// The newest subscription of a follower, while its stream lives.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub number: SubscriptionNumber,
    pub broker_epoch: BrokerEpoch,
    /// Everything below has been handed to the stream.
    pub sent: Offset,
    /// Everything below has arrived and is written.
    pub arrived: Offset,
    /// Bytes that may still be sent; below zero after a batch larger than what was left.
    pub credit: i64,
    /// A push has been given out and not answered.
    pub pushing: bool,
    pub lane: Lane,
    /// The lane to change to once everything sent has arrived: two lanes keep no order between them.
    pub moving_to: Option<Lane>,
    /// What the follower has been told last.
    pub told: (HighWatermark, LogStartOffset),
}

#[derive(Debug)]
pub(crate) struct Peer {
    /// The registration under which `acked` was learnt, as the image shows it.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Under this leader epoch and this registration; `None` before the first acknowledgement.
    pub acked: Option<Acked>,
    pub subscription: Option<Subscription>,
    /// The newest subscription ever seen: older ones that arrive late are dropped.
    pub newest: (BrokerEpoch, SubscriptionNumber),
    /// Since when there has been no subscription, if there is none.
    pub silent_since: Moment,
    /// It subscribed below the high watermark while it was in the ISR.
    pub lost_data: bool,
}

impl Peer {
    pub fn new(broker_epoch: Option<BrokerEpoch>, now: Moment) -> Peer {
        Peer {
            broker_epoch,
            acked: None,
            subscription: None,
            newest: (BrokerEpoch::NONE, SubscriptionNumber(0)),
            silent_since: now,
            lost_data: false,
        }
    }

    pub fn level(&self, durability: Durability) -> Option<Offset> {
        self.acked.map(|acked| acked.level(durability))
    }

    pub fn end_subscription(&mut self, now: Moment) -> Option<Subscription> {
        let ended = self.subscription.take();
        if ended.is_some() {
            self.silent_since = now;
        }
        ended
    }
}
