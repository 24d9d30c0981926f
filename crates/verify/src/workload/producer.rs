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

use super::{Load, Progress};
use crate::history::{History, Outcome, Sent};
use crate::value::Value;

/// How often records are sent; a faster pace sends several at a time.
const TICK: Duration = Duration::from_millis(2);

pub(super) struct Task {
    pub load: Load,
    pub number: u32,
    pub client: Client,
    pub started: Instant,
    pub progress: Progress,
    pub stop: watch::Receiver<bool>,
}

impl Task {
    pub fn start(self) -> Result<impl Future<Output = History> + Send, ProducerConfigError> {
        let config = ProducerConfig {
            delivery_timeout: self.load.delivery_timeout,
            ..ProducerConfig::default()
        };
        let producer = self.client.producer(config)?;
        Ok(self.run(producer))
    }

    async fn run(mut self, producer: Producer) -> History {
        let topic: Arc<str> = self.load.topic.as_str().into();
        let pace = f64::from(self.load.records_per_second) / f64::from(self.load.producers.max(1));
        let mut numbers = vec![0u64; usize::try_from(self.load.partitions).unwrap_or(0)];
        let mut turn = self.number as usize % numbers.len().max(1);
        let (mut history, mut under_way) = (History::default(), FuturesUnordered::new());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut due, mut last) = (0.0, Instant::now());
        loop {
            tokio::select! {
                _ = self.stop.changed() => break,
                Some((value, partition, outcome)) = under_way.next() => {
                    self.note(&mut history, value, partition, outcome);
                }
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
                        let record = record.value(value.encode(self.load.record_bytes));
                        // A record that was not taken was never sent; its value is used for the next.
                        if let Ok(delivery) = producer.send(record).await {
                            numbers[turn] += 1;
                            under_way.push(outcome(value, partition, delivery));
                        }
                        turn = (turn + 1) % numbers.len();
                    }
                }
            }
        }
        while let Some((value, partition, outcome)) = under_way.next().await {
            self.note(&mut history, value, partition, outcome);
        }
        producer.close().await;
        history
    }

    fn note(&self, history: &mut History, value: Value, partition: i32, outcome: Result<i64, ProduceError>) {
        let outcome = match outcome {
            Ok(offset) => {
                self.progress.acknowledged(partition);
                Outcome::Acknowledged {
                    offset,
                    at: self.started.elapsed(),
                }
            }
            Err(error) if error.may_have_had_effect() => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        };
        history.partition(partition).sent.push(Sent { value, outcome });
    }
}

async fn outcome(value: Value, partition: i32, delivery: DeliveryFuture) -> (Value, i32, Result<i64, ProduceError>) {
    (value, partition, delivery.await.map(|delivery| delivery.offset.0))
}
