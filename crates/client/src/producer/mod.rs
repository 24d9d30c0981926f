//! Sending records. The decisions are in `core`; `task` carries them out.

mod config;
mod core;
mod delivery;
mod error;
mod exchange;
mod partitioner;
mod record;
mod task;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use klamm_record::record_size;
use tokio::task::JoinHandle;

pub use self::config::{Acks, Guarantee, ProducerConfig, ProducerConfigError};
use self::core::{AppendError, Core, CoreConfig, NewRecord};
pub use self::delivery::DeliveryFuture;
use self::delivery::Ticket;
pub use self::error::{Effect, ProduceError, SendError};
use self::exchange::ExchangeConfig;
pub use self::partitioner::{murmur2, partition_for_key};
pub use self::record::{Delivery, ProducerRecord};
use self::task::{Shared, Task};
use crate::client::{Client, wall_clock};
use crate::metadata::Topic;

/// A request unanswered for so long makes us look for a new leader.
const SLOW_AFTER: Duration = Duration::from_millis(250);
/// How long a former leader may still answer once a new one is known.
const ABANDON_AFTER: Duration = Duration::from_millis(20);

/// Sends records to any number of topics; made by [`Client::producer`].
///
/// [`send`](Producer::send) puts a record into a batch and returns a future for its delivery; it waits only when the
/// buffer is full or the topic is not known yet. Records of one partition keep the order in which `send` was called.
/// With the default guarantee nothing is written twice, whatever is retried.
///
/// Share it between tasks by reference or in an `Arc`. Call [`close`](Producer::close) at the end: dropping the
/// producer fails what is not delivered yet.
///
/// ```
/// use klamm_client::{Client, ClientConfig, ProducerConfig, ProducerRecord};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = klamm_testkit::Cluster::start().await?;
/// let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await?;
/// let producer = client.producer(ProducerConfig::default())?;
/// let delivery = producer.send(ProducerRecord::to("orders").key("customer-7").value("one apple")).await?;
/// let delivered = delivery.await?;
/// println!("partition {}, offset {}", delivered.partition, delivered.offset);
/// producer.close().await;
/// # cluster.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Producer {
    client: Client,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
    config: ProducerConfig,
}

impl Drop for Producer {
    fn drop(&mut self) {
        // The task sees it, fails what is left and ends.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }
}

impl Producer {
    pub(crate) fn start(client: Client, config: ProducerConfig) -> Result<Producer, ProducerConfigError> {
        config.validate()?;
        let core_config = CoreConfig {
            acks: config.acks,
            guarantee: config.guarantee,
            compression: config.compression,
            level: config.compression_level,
            batch_size: config.batch_size,
            linger: config.linger,
            request_size_max: config.request_size_max,
            delivery_timeout: config.delivery_timeout,
            retry_backoff: client.config().retry_backoff,
            in_flight_max: config.in_flight_max,
            slow_after: SLOW_AFTER,
            abandon_after: ABANDON_AFTER,
            seed: rand::random(),
        };
        let shared = Arc::new(Shared::new(
            Core::new(core_config, client.cluster()),
            config.buffer_memory,
        ));
        let exchange = ExchangeConfig {
            acks: config.acks.code(),
            request_timeout: client.config().request_timeout,
        };
        let task = tokio::spawn(Task::new(client.clone(), Arc::clone(&shared), exchange).run());
        Ok(Producer {
            client,
            shared,
            task: Some(task),
            config,
        })
    }

    /// Takes a record for delivery. The future it returns resolves when the record is acknowledged, or has failed; it
    /// may be dropped.
    ///
    /// Waits up to `max_block` for the topic to be known and for room in the buffer. Dropping `send` itself before it
    /// returns sends nothing.
    ///
    /// # Errors
    /// The record was not taken: its topic or partition does not exist, it is too large, the buffer stays full, or the
    /// producer is closed.
    pub async fn send(&self, record: ProducerRecord) -> Result<DeliveryFuture, SendError> {
        let topic = self.topic(&record.topic).await?;
        let size = self.reserve(&record).await?;
        let timestamp = record.timestamp.unwrap_or_else(wall_clock);
        let new = NewRecord {
            partition: record.partition,
            timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        let appended = self.shared.core().append(self.client.now(), &topic, new, Ticket::new);
        let appended = match appended {
            Ok(appended) => appended,
            Err(failure) => {
                self.shared.memory.add_permits(size);
                return Err(refusal(failure, &topic));
            }
        };
        if appended.wake {
            self.shared.wake.notify_one();
        }
        // A loop that does nothing but send would otherwise never let go of its thread.
        tokio::task::coop::consume_budget().await;
        let name = Arc::clone(&topic.name);
        Ok(DeliveryFuture::new(
            &appended.ticket,
            name,
            appended.partition,
            appended.index,
            timestamp,
        ))
    }

    async fn topic(&self, name: &str) -> Result<Arc<Topic>, SendError> {
        if let Some(topic) = self.client.cluster().topic(name) {
            return Ok(Arc::clone(topic));
        }
        self.client
            .topic_within(name, self.config.max_block)
            .await
            .map_err(SendError::Topic)
    }

    /// Takes buffer memory for the record, which its batch gives back.
    async fn reserve(&self, record: &ProducerRecord) -> Result<usize, SendError> {
        let size = record_size(record.key.as_deref(), record.value.as_deref(), &record.headers);
        let size_max = self.config.request_size_max;
        let permits = match u32::try_from(size) {
            Ok(permits) if size <= size_max => permits,
            _ => return Err(SendError::TooLarge { size, size_max }),
        };
        if let Ok(permit) = self.shared.memory.try_acquire_many(permits) {
            permit.forget();
            return Ok(size);
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.shared.wake.notify_one();
        let waited = self.config.max_block;
        let acquired = tokio::time::timeout(waited, self.shared.memory.acquire_many(permits)).await;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        match acquired {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(size)
            }
            Ok(Err(_)) => Err(SendError::Closed),
            Err(_) => Err(SendError::BufferFull { waited }),
        }
    }

    /// Sends everything that was taken so far without lingering, and returns when each of it is delivered or failed.
    pub async fn flush(&self) {
        let tickets = self.shared.core().flush();
        self.shared.wake.notify_one();
        join_all(tickets.into_iter().map(Ticket::ended)).await;
    }

    /// Delivers what was taken and ends the producer. Takes no longer than `delivery_timeout`.
    pub async fn close(mut self) {
        self.flush().await;
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

fn refusal(failure: AppendError, topic: &Topic) -> SendError {
    match failure {
        AppendError::UnknownPartition(partition) => SendError::UnknownPartition {
            topic: Arc::clone(&topic.name),
            partition,
            count: topic.partitions.len(),
        },
        AppendError::Build(cause) => SendError::Build(cause),
    }
}
