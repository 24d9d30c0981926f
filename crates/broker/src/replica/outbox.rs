//! What waits to be sent on one replica stream, on either side.
//!
//! Workers put messages in and never wait; the stream takes the next message when the connection has room for it, so
//! what comes meanwhile is sent together. Batches are bounded by the follower's credit. Of acknowledgements and high
//! watermarks only the newest per partition counts, so a slow connection holds one of each. An outbox decides nothing
//! but the order: what starts or ends a subscription goes first; high watermarks go before batches, at once after a
//! pause and otherwise gathered for `HIGH_WATERMARK_PAUSE`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use klamm_proto::replica::v1::{
    Acknowledge, Acknowledgement, Batches, FollowerMessage, Heartbeat, HighWatermarkUpdate, HighWatermarks,
    LeaderMessage, Open, Opened, PartitionBatches, Subscribe, Subscription, SubscriptionAnswer, SubscriptionAnswers,
    Unsubscribe, Unsubscription, follower_message, leader_message,
};
use klamm_types::TopicPartition;
use prost::Message as _;
use tokio::sync::Notify;

/// A stream on which nothing was sent for so long sends a heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// A stream that brings nothing for so long is taken for dead.
pub const SILENCE_MAX: Duration = Duration::from_millis(2_000);
/// A message of batches or answers is closed when it holds so many bytes.
pub const MESSAGE_BYTES: usize = 1 << 20;
/// Messages of high watermarks keep this distance.
const HIGH_WATERMARK_PAUSE: Duration = Duration::from_millis(4);
/// A message lists at most so many partitions, which keeps it well under the limits of the receiver.
const PARTITIONS_MAX: usize = 4_096;

/// One side's queue: how to take the next message, and until when there is none.
pub trait Queue {
    type Message: Send;

    /// The next message, or the moment at which to ask again.
    fn next(&mut self, now: Instant) -> Result<Self::Message, Instant>;
}

/// A queue shared between the workers that fill it and the stream that empties it.
pub struct Outbox<Q> {
    state: Mutex<State<Q>>,
    changed: Notify,
}

struct State<Q> {
    queue: Q,
    /// The stream waits and has not been woken since.
    asleep: bool,
    closed: bool,
}

impl<Q: Queue> Outbox<Q> {
    pub fn new(queue: Q) -> Self {
        Self {
            state: Mutex::new(State {
                queue,
                asleep: false,
                closed: false,
            }),
            changed: Notify::new(),
        }
    }

    /// Changes the queue and wakes the stream.
    pub fn put(&self, change: impl FnOnce(&mut Q)) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        change(&mut state.queue);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Ends the stream; what was not sent is dropped.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The next message, once there is one; `None` when the outbox is closed.
    pub async fn next(&self) -> Option<Q::Message> {
        loop {
            let again = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                match state.queue.next(Instant::now()) {
                    Ok(message) => return Some(message),
                    Err(again) => {
                        state.asleep = true;
                        again
                    }
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(again.into()) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<Q>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a leader has for one stream of one follower.
pub struct ToFollower {
    opened: Option<Opened>,
    answers: VecDeque<SubscriptionAnswer>,
    batches: VecDeque<PartitionBatches>,
    high_watermarks: HashMap<TopicPartition, HighWatermarkUpdate>,
    high_watermarks_due: Instant,
    last_sent: Instant,
}

impl ToFollower {
    pub fn new(opened: Opened) -> Self {
        Self {
            opened: Some(opened),
            answers: VecDeque::new(),
            batches: VecDeque::new(),
            high_watermarks: HashMap::new(),
            high_watermarks_due: Instant::now(),
            last_sent: Instant::now(),
        }
    }

    pub fn push_batches(&mut self, partition: TopicPartition, batches: PartitionBatches) {
        // The batches carry the newest high watermark themselves.
        self.high_watermarks.remove(&partition);
        self.batches.push_back(batches);
    }

    pub fn push_high_watermark(&mut self, partition: TopicPartition, update: HighWatermarkUpdate) {
        self.high_watermarks.insert(partition, update);
    }

    pub fn push_answer(&mut self, partition: TopicPartition, answer: SubscriptionAnswer) {
        // A high watermark that was not sent yet belongs to an older subscription.
        self.high_watermarks.remove(&partition);
        self.answers.push_back(answer);
    }
}

impl Queue for ToFollower {
    type Message = LeaderMessage;

    fn next(&mut self, now: Instant) -> Result<LeaderMessage, Instant> {
        use leader_message::Message;
        let watermarks_wait = !self.high_watermarks.is_empty();
        let message = if let Some(opened) = self.opened.take() {
            Message::Opened(opened)
        } else if !self.answers.is_empty() {
            // What an answer tells of producers can be large.
            Message::Answers(SubscriptionAnswers {
                answers: take(&mut self.answers, SubscriptionAnswer::encoded_len),
            })
        } else if watermarks_wait && now >= self.high_watermarks_due {
            self.high_watermarks_due = now + HIGH_WATERMARK_PAUSE;
            Message::HighWatermarks(HighWatermarks {
                updates: drain(&mut self.high_watermarks),
            })
        } else if !self.batches.is_empty() {
            let size = |next: &PartitionBatches| next.records.iter().map(|piece| piece.len()).sum();
            Message::Batches(Batches {
                partitions: take(&mut self.batches, size),
            })
        } else if watermarks_wait {
            return Err(self.high_watermarks_due);
        } else if now.saturating_duration_since(self.last_sent) >= HEARTBEAT_INTERVAL {
            Message::Heartbeat(Heartbeat {})
        } else {
            return Err(self.last_sent + HEARTBEAT_INTERVAL);
        };
        self.last_sent = now;
        Ok(LeaderMessage { message: Some(message) })
    }
}

/// What a follower has for one stream to a leader.
pub struct ToLeader {
    open: Option<Open>,
    subscriptions: VecDeque<Subscription>,
    unsubscriptions: VecDeque<Unsubscription>,
    acknowledgements: HashMap<TopicPartition, Acknowledgement>,
    last_sent: Instant,
}

impl ToLeader {
    pub fn new(open: Open) -> Self {
        Self {
            open: Some(open),
            subscriptions: VecDeque::new(),
            unsubscriptions: VecDeque::new(),
            acknowledgements: HashMap::new(),
            last_sent: Instant::now(),
        }
    }

    pub fn push_subscription(&mut self, partition: TopicPartition, subscription: Subscription) {
        // An acknowledgement that was not sent yet belongs to an older subscription.
        self.acknowledgements.remove(&partition);
        self.subscriptions.push_back(subscription);
    }

    pub fn push_unsubscription(&mut self, partition: TopicPartition, unsubscription: Unsubscription) {
        self.acknowledgements.remove(&partition);
        self.unsubscriptions.push_back(unsubscription);
    }

    pub fn push_acknowledgement(&mut self, partition: TopicPartition, newer: Acknowledgement) {
        let held = self.acknowledgements.entry(partition).or_default();
        let credit = if held.number == newer.number {
            held.credit.saturating_add(newer.credit)
        } else {
            newer.credit
        };
        *held = Acknowledgement { credit, ..newer };
    }
}

impl Queue for ToLeader {
    type Message = FollowerMessage;

    fn next(&mut self, now: Instant) -> Result<FollowerMessage, Instant> {
        use follower_message::Message;
        let message = if let Some(open) = self.open.take() {
            Message::Open(open)
        } else if !self.unsubscriptions.is_empty() {
            let count = self.unsubscriptions.len().min(PARTITIONS_MAX);
            Message::Unsubscribe(Unsubscribe {
                unsubscriptions: self.unsubscriptions.drain(..count).collect(),
            })
        } else if !self.subscriptions.is_empty() {
            let count = self.subscriptions.len().min(PARTITIONS_MAX);
            Message::Subscribe(Subscribe {
                subscriptions: self.subscriptions.drain(..count).collect(),
            })
        } else if !self.acknowledgements.is_empty() {
            Message::Acknowledge(Acknowledge {
                acknowledgements: drain(&mut self.acknowledgements),
            })
        } else if now.saturating_duration_since(self.last_sent) >= HEARTBEAT_INTERVAL {
            Message::Heartbeat(Heartbeat {})
        } else {
            return Err(self.last_sent + HEARTBEAT_INTERVAL);
        };
        self.last_sent = now;
        Ok(FollowerMessage { message: Some(message) })
    }
}

fn drain<V>(map: &mut HashMap<TopicPartition, V>) -> Vec<V> {
    if map.len() <= PARTITIONS_MAX {
        return map.drain().map(|(_, value)| value).collect();
    }
    let keys: Vec<TopicPartition> = map.keys().take(PARTITIONS_MAX).copied().collect();
    keys.iter().filter_map(|key| map.remove(key)).collect()
}

/// What fits into a message; one fits in any case.
fn take<T>(queue: &mut VecDeque<T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while let Some(next) = queue.front() {
        let size = size(next);
        if !taken.is_empty() && bytes + size > MESSAGE_BYTES || taken.len() >= PARTITIONS_MAX {
            break;
        }
        bytes += size;
        taken.extend(queue.pop_front());
    }
    taken
}

#[cfg(test)]
mod tests {
    use klamm_proto::replica::v1::{OutOfRange, subscription_answer};
    use klamm_types::{PartitionId, TopicId};

    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_u128(1),
            partition: PartitionId(number),
        }
    }

    fn next(queue: &mut ToFollower, now: Instant) -> Result<leader_message::Message, Instant> {
        queue
            .next(now)
            .map(|message| message.message.expect("every message has content"))
    }

    fn batches(size: usize) -> PartitionBatches {
        PartitionBatches {
            records: vec![vec![0; size].into()],
            ..PartitionBatches::default()
        }
    }

    fn high_watermark(value: i64) -> HighWatermarkUpdate {
        HighWatermarkUpdate {
            high_watermark: value,
            ..HighWatermarkUpdate::default()
        }
    }

    #[test]
    fn answers_come_before_batches_and_messages_are_bounded() {
        use leader_message::Message;
        let now = Instant::now();
        let mut queue = ToFollower::new(Opened { node_id: 3 });
        for _ in 0..3 {
            queue.push_batches(partition(0), batches(MESSAGE_BYTES / 2));
        }
        queue.push_batches(partition(0), batches(MESSAGE_BYTES * 2));
        queue.push_answer(partition(0), SubscriptionAnswer::default());
        assert_eq!(next(&mut queue, now), Ok(Message::Opened(Opened { node_id: 3 })));
        assert!(matches!(next(&mut queue, now), Ok(Message::Answers(_))));
        let large = SubscriptionAnswer {
            answer: Some(subscription_answer::Answer::OutOfRange(OutOfRange {
                log_start_offset: 5,
                producers: vec![0; MESSAGE_BYTES / 3].into(),
            })),
            ..SubscriptionAnswer::default()
        };
        for _ in 0..3 {
            queue.push_answer(partition(0), large.clone());
        }
        for expected in [2, 1] {
            let Ok(Message::Answers(message)) = next(&mut queue, now) else {
                panic!("answers are left");
            };
            assert_eq!(message.answers.len(), expected);
        }
        for expected in [2, 1, 1] {
            let Ok(Message::Batches(message)) = next(&mut queue, now) else {
                panic!("batches are left");
            };
            assert_eq!(message.partitions.len(), expected);
        }
        assert!(next(&mut queue, now).is_err());
    }

    #[test]
    fn high_watermarks_are_gathered_and_not_starved() {
        use leader_message::Message;
        let watermarks = |updates| Ok(Message::HighWatermarks(HighWatermarks { updates }));
        let mut queue = ToFollower::new(Opened::default());
        let now = Instant::now();
        assert!(next(&mut queue, now).is_ok());
        queue.push_high_watermark(partition(0), high_watermark(1));
        assert_eq!(next(&mut queue, now), watermarks(vec![high_watermark(1)]));
        // The next ones wait a little and replace each other; batches pass meanwhile and carry their own.
        queue.push_high_watermark(partition(0), high_watermark(2));
        queue.push_high_watermark(partition(0), high_watermark(3));
        queue.push_high_watermark(partition(1), high_watermark(9));
        assert_eq!(next(&mut queue, now), Err(now + HIGH_WATERMARK_PAUSE));
        queue.push_batches(partition(1), batches(10));
        assert!(matches!(next(&mut queue, now), Ok(Message::Batches(_))));
        queue.push_batches(partition(5), batches(10));
        let later = now + HIGH_WATERMARK_PAUSE;
        assert_eq!(next(&mut queue, later), watermarks(vec![high_watermark(3)]));
    }

    #[test]
    fn a_quiet_stream_sends_heartbeats() {
        let mut queue = ToFollower::new(Opened::default());
        assert!(next(&mut queue, Instant::now()).is_ok());
        let Err(due) = next(&mut queue, Instant::now()) else {
            panic!("nothing is there to be sent");
        };
        assert_eq!(
            next(&mut queue, due),
            Ok(leader_message::Message::Heartbeat(Heartbeat {}))
        );
    }

    #[test]
    fn acknowledgements_replace_each_other_and_credit_adds_up() {
        let acknowledge = |number, written, credit| Acknowledgement {
            number,
            written,
            credit,
            ..Acknowledgement::default()
        };
        let mut queue = ToLeader::new(Open::default());
        assert!(queue.next(Instant::now()).is_ok());
        queue.push_acknowledgement(partition(0), acknowledge(1, 5, 10));
        queue.push_acknowledgement(partition(0), acknowledge(1, 7, 20));
        queue.push_acknowledgement(partition(1), acknowledge(1, 7, 20));
        queue.push_acknowledgement(partition(1), acknowledge(2, 3, 4));
        let message = queue.next(Instant::now()).ok().and_then(|message| message.message);
        let Some(follower_message::Message::Acknowledge(mut message)) = message else {
            panic!("acknowledgements are there");
        };
        message
            .acknowledgements
            .sort_by_key(|acknowledgement| acknowledgement.number);
        assert_eq!(message.acknowledgements, [acknowledge(1, 7, 30), acknowledge(2, 3, 4)]);
    }
}
