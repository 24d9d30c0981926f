//! The promise that comes with a record: resolves when its batch is delivered or given up.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::Shared;
use klamm_types::{Offset, PartitionId, Timestamp};
use tokio::sync::oneshot;

use super::core::Written;
use super::error::{Effect, ProduceError};
use super::record::Delivery;

pub(super) type Outcome = Result<Written, ProduceError>;

/// One batch's end, for all who wait for it. Clones share it.
#[derive(Clone)]
pub(super) struct Ticket {
    sender: Arc<Mutex<Option<oneshot::Sender<Outcome>>>>,
    outcome: Shared<oneshot::Receiver<Outcome>>,
}

impl Ticket {
    pub fn new() -> Ticket {
        let (sender, receiver) = oneshot::channel();
        Ticket {
            sender: Arc::new(Mutex::new(Some(sender))),
            outcome: receiver.shared(),
        }
    }

    /// Tells all who wait. Only the first call counts.
    pub fn resolve(&self, outcome: Outcome) {
        if let Some(sender) = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = sender.send(outcome);
        }
    }

    /// Returns when the batch has ended, well or not.
    pub async fn ended(self) {
        let _ = self.outcome.await;
    }
}

/// Resolves to where a record was written, or to why it was not. Dropping it does not stop the delivery.
#[must_use = "a record may fail after it was taken; only this tells"]
pub struct DeliveryFuture {
    pub(super) outcome: Shared<oneshot::Receiver<Outcome>>,
    pub(super) topic: Arc<str>,
    pub(super) partition: PartitionId,
    /// The record's place in its batch.
    pub(super) index: i32,
    pub(super) timestamp: Timestamp,
}

impl DeliveryFuture {
    pub(super) fn new(ticket: &Ticket, topic: Arc<str>, partition: PartitionId, index: i32, at: Timestamp) -> Self {
        DeliveryFuture {
            outcome: ticket.outcome.clone(),
            topic,
            partition,
            index,
            timestamp: at,
        }
    }

    /// The partition that the record was put into; known before it is delivered.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }
}

impl Future for DeliveryFuture {
    type Output = Result<Delivery, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(received) = self.outcome.poll_unpin(context) else {
            return Poll::Pending;
        };
        // A batch whose end nobody tells any more belonged to a producer that is gone.
        let outcome = received.unwrap_or(Err(ProduceError::Closed {
            effect: Effect::Possible,
        }));
        Poll::Ready(outcome.map(|written| Delivery {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            offset: match written.base_offset {
                Offset::NONE => Offset::NONE,
                base => Offset(base.0.saturating_add(i64::from(self.index))),
            },
            timestamp: if written.append_time.is_none() {
                self.timestamp
            } else {
                written.append_time
            },
        }))
    }
}
