//! One producer of a workload: an even pace, unique values, every outcome written down.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use klamm_client::{
    Client, DeliveryFuture, ProduceError, Producer, ProducerConfig, ProducerConfigError, ProducerRecord,
};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Progress;
use super::run::Shared;
use crate::history::Outcome;
use crate::judge::Event;
use crate::value::Value;

/// How often records are sent; a faster pace sends several at a time.
const TICK: Duration = Duration::from_millis(2);

pub(super) struct Task {
    pub shared: Shared,
    pub number: u32,
    pub client: Client,
    pub progress: Progress,
    pub stop: watch::Receiver<bool>,
}

impl Task {
    pub fn start(self) -> Result<impl Future<Output = ()> + Send, ProducerConfigError> {
        let config = ProducerConfig {
            delivery_timeout: self.shared.load.delivery_timeout,
            ..ProducerConfig::default()
        };
        let producer = self.client.producer(config)?;
        Ok(self.run(producer))
    }

    async fn run(mut self, producer: Producer) {
        let load = self.shared.load.clone();
        let topic: Arc<str> = load.topic.as_str().into();
        let pace = f64::from(load.records_per_second) / f64::from(load.producers.max(1));
        let mut numbers = vec![0u64; usize::try_from(load.partitions).unwrap_or(0)];
        let mut turn = self.number as usize % numbers.len().max(1);
        let mut under_way = FuturesUnordered::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut due, mut last) = (0.0, Instant::now());
        loop {
            tokio::select! {
                _ = self.stop.changed() => break,
                Some(ended) = under_way.next() => self.note(ended),
                _ = tick.tick() => {
                    let now = Instant::now();
                    // A pause of this process must not end in a burst.
                    due += (now - last).as_secs_f64().min(0.1) * pace;
                    last = now;
                    while due >= 1.0 {
                        due -= 1.0;
                        let value = Value { producer: self.number, number: numbers[turn] };
                        let partition = i32::try_from(turn).unwrap_or(0);
                        let record = ProducerRecord::to(topic.clone()).partition(partition);
                        let record = record.value(value.encode(load.record_bytes));
                        let handed_over = Instant::now();
                        self.shared.note(partition, Event::Sent { value });
                        if let Ok(delivery) = producer.send(record).await {
                            numbers[turn] += 1;
                            under_way.push(end_of(Sending { value, partition, handed_over }, delivery));
                        } else {
                            // A record that was not taken was never sent; its value is used for the next.
                            self.shared.note(partition, Event::Withdrawn { value });
                        }
                        turn = (turn + 1) % numbers.len();
                    }
                }
            }
        }
        while let Some(ended) = under_way.next().await {
            self.note(ended);
        }
        producer.close().await;
    }

    fn note(&self, (sending, outcome): (Sending, Result<i64, ProduceError>)) {
        let Sending { value, partition, .. } = sending;
        let outcome = match outcome {
            Ok(offset) => {
                self.progress.acknowledged(partition);
                self.shared.recorder.latency(sending.handed_over.elapsed());
                let at = self.shared.started.elapsed();
                Outcome::Acknowledged { offset, at }
            }
            Err(error) if error.may_have_had_effect() => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        };
        self.shared.note(partition, Event::Settled { value, outcome });
    }
}

/// A record that is under way.
struct Sending {
    value: Value,
    partition: i32,
    handed_over: Instant,
}

async fn end_of(sending: Sending, delivery: DeliveryFuture) -> (Sending, Result<i64, ProduceError>) {
    (sending, delivery.await.map(|delivery| delivery.offset.0))
}
