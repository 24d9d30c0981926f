//! The program's side of a consumer: assignment, positions, and records as they come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{HighWatermark, LogStartOffset, Offset, PartitionId};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::collect::{Room, collect};
use super::config::{ConsumerConfig, Start};
use super::core::{Core, CoreConfig};
use super::error::ConsumeError;
use super::group::{Group, Polling};
use super::offsets::{self, LogEnd};
use super::reader::Reader;
use super::record::{ConsumerRecord, TopicPartition};
use super::requests::ExchangeConfig;
use super::task::{Shared, Task};
use crate::client::Client;

/// How long a fetch may be overdue before we look for a new leader.
const OVERDUE_AFTER: Duration = Duration::from_millis(200);
/// Without a pause, retries would keep a processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Reads records from the partitions assigned to it, by the program or by a group; made by [`Client::consumer`].
///
/// It fetches ahead in the background, within `buffer_memory`. [`poll`](Consumer::poll) hands out what is there: the
/// records of a partition in order of their offsets, each once. A partition's position is the offset after the last
/// record handed out; nothing else moves it but the program, and `offset_reset` if it is set. Leaders may change, and
/// brokers die and come back, in the meantime.
///
/// ```
/// use std::time::Duration;
/// use klamm_client::{Client, ClientConfig, ConsumerConfig, Start};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = klamm_testkit::Cluster::start().await?;
/// let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await?;
/// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
/// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
/// let mut consumer = client.consumer(ConsumerConfig::default());
/// consumer.assign_topic("orders", Start::Earliest).await?;
/// let ends = consumer.end_offsets().await?;
/// while !consumer.has_reached(&ends) {
///     for record in consumer.poll(Duration::from_millis(500)).await? {
///         println!("{}-{} at {}: {:?}", record.topic, record.partition, record.offset, record.value);
///     }
/// }
/// # cluster.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    pub(super) shared: Arc<Shared>,
    reader: Reader,
    pub(super) group: Option<Group>,
    task: JoinHandle<()>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Consumer {
    pub(crate) fn start(client: Client, config: ConsumerConfig) -> Consumer {
        let core_config = CoreConfig {
            isolation: config.isolation,
            offset_reset: config.offset_reset,
            buffer_memory: config.buffer_memory,
            fetch_bytes_max: config.fetch_bytes_max,
            partition_fetch_bytes_max: config.partition_fetch_bytes_max,
            retry_backoff: client.config().retry_backoff.max(PAUSE_MIN),
            unavailable_after: client.config().api_timeout,
            slow_after: config.fetch_wait_max.saturating_add(OVERDUE_AFTER),
        };
        let exchange = ExchangeConfig {
            isolation: config.isolation,
            bytes_min: config.fetch_bytes_min,
            wait_max: config.fetch_wait_max,
            request_timeout: client.config().request_timeout,
        };
        let shared = Arc::new(Shared::new(Core::new(core_config, client.cluster())));
        let task = tokio::spawn(Task::new(client.clone(), Arc::clone(&shared), exchange).run());
        let reader = Reader::new(config.decompressed_bytes_max);
        let group = config.group.clone().map(|group| Group::start(&client, group, &shared));
        Consumer {
            client,
            config,
            shared,
            reader,
            group,
            task,
        }
    }

    /// Adds partitions, each to be read from where it is said. One that is assigned already starts anew; the others
    /// stay as they are. Whether the partitions exist shows in [`poll`](Consumer::poll).
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # client.admin().create_topic(klamm_client::admin::NewTopic::new("returns").partitions(2)).await?;
    /// use klamm_client::{ConsumerConfig, Offset, Start, TopicPartition};
    ///
    /// let mut consumer = client.consumer(ConsumerConfig::default());
    /// consumer.assign([
    ///     (TopicPartition::new("orders", 0), Start::Earliest),
    ///     (TopicPartition::new("returns", 1), Start::Offset(Offset(0))),
    /// ]);
    /// let record = consumer.recv().await?;
    /// println!("{:?}", record.key);
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, Start)>) {
        let partitions: Vec<_> = partitions.into_iter().collect();
        for (partition, _) in &partitions {
            self.client.want_topic(&partition.topic);
        }
        self.shared.core().assign(partitions);
        self.shared.wake.notify_one();
    }

    /// Adds all partitions that a topic has now; says how many they are.
    ///
    /// # Errors
    /// [`ConsumeError::Topic`] if the topic does not appear within the client's `api_timeout`.
    pub async fn assign_topic(&mut self, topic: &str, start: Start) -> Result<usize, ConsumeError> {
        let found = self
            .client
            .topic(topic)
            .await
            .map_err(|cause| ConsumeError::Topic(Arc::new(cause)))?;
        let partition = |id: PartitionId| TopicPartition {
            topic: Arc::clone(&found.name),
            partition: id,
        };
        self.assign(found.partitions.iter().map(|state| (partition(state.id), start)));
        Ok(found.partitions.len())
    }

    /// Stops reading a partition and forgets its position. Nothing happens if it is not assigned.
    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.shared.core().unassign(partition);
        self.shared.wake.notify_one();
    }

    /// Stops reading everything.
    pub fn unassign_all(&mut self) {
        for partition in self.assignment() {
            self.unassign(&partition);
        }
    }

    /// Goes on from another place. Also the way on after an error that stopped the partition.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let mut consumer = client.consumer(klamm_client::ConsumerConfig::default());
    /// # consumer.assign_topic("orders", klamm_client::Start::Earliest).await?;
    /// use std::time::Duration;
    /// use klamm_client::{ConsumeError, Start};
    ///
    /// match consumer.poll(Duration::from_secs(1)).await {
    ///     Err(ConsumeError::OffsetOutOfRange { partition, .. }) => consumer.seek(&partition, Start::Earliest)?,
    ///     Err(failure) if !failure.is_retriable() => return Err(failure.into()),
    ///     Err(_) | Ok(_) => {}
    /// }
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub fn seek(&mut self, partition: &TopicPartition, to: Start) -> Result<(), ConsumeError> {
        let known = self.shared.core().seek(partition, to);
        self.changed(partition, known)
    }

    /// Hands out nothing of a partition until it is resumed. What was fetched ahead of it is dropped, so that it takes
    /// no memory from others; its position stays.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let mut consumer = client.consumer(klamm_client::ConsumerConfig::default());
    /// # consumer.assign_topic("orders", klamm_client::Start::Earliest).await?;
    /// let behind = |partition: &klamm_client::TopicPartition| consumer.lag(partition).is_some_and(|lag| lag > 10_000);
    /// if let Some(partition) = consumer.assignment().into_iter().find(behind) {
    ///     consumer.pause(&partition)?;
    ///     // ... and later:
    ///     consumer.resume(&partition)?;
    /// }
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), ConsumeError> {
        let known = self.shared.core().pause(partition);
        self.changed(partition, known)
    }

    /// Reads a paused partition again. Nothing happens if it is not paused.
    ///
    /// # Errors
    /// [`ConsumeError::NotAssigned`].
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), ConsumeError> {
        let known = self.shared.core().resume(partition);
        self.changed(partition, known)
    }

    fn changed(&self, partition: &TopicPartition, known: bool) -> Result<(), ConsumeError> {
        self.shared.wake.notify_one();
        if known {
            Ok(())
        } else {
            Err(ConsumeError::NotAssigned {
                partition: partition.clone(),
            })
        }
    }

    /// The assigned partitions, in order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.core().assignment()
    }

    /// Those of them that are paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.shared.core().paused()
    }

    /// The offset after the last record handed out, or where reading begins; `None` while that is being looked up, or
    /// if the partition is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.shared.core().position(partition)
    }

    /// The positions that are known.
    pub fn positions(&self) -> BTreeMap<TopicPartition, Offset> {
        let core = self.shared.core();
        let known = |partition: TopicPartition| Some((partition.clone(), core.position(&partition)?));
        core.assignment().into_iter().filter_map(known).collect()
    }

    /// The high watermark in the last answer of the partition's leader: records below it were readable then. With
    /// [`IsolationLevel::ReadCommitted`](crate::IsolationLevel) reading may stop below it, before a transaction that is
    /// open.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<HighWatermark> {
        self.shared.core().high_watermark(partition)
    }

    /// The first offset of the log, by the last answer of the partition's leader; `None` also if it does not tell.
    pub fn log_start_offset(&self, partition: &TopicPartition) -> Option<LogStartOffset> {
        self.shared.core().log_start_offset(partition)
    }

    /// How many offsets lie between the position and the end of what may be read, by the leader's last answer. Offsets
    /// are not records: transaction markers take some, and compaction leaves gaps.
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.shared.core().lag(partition)
    }

    /// Where each assigned partition ends now: the offset that its next readable record will have. The leaders are
    /// asked; with [`IsolationLevel::ReadCommitted`](crate::IsolationLevel) it is the first open transaction's offset.
    ///
    /// # Errors
    /// [`ConsumeError::Unavailable`] if a leader could not be asked within the client's `api_timeout`,
    /// [`ConsumeError::Refused`] or [`ConsumeError::Request`] if waiting would not help.
    pub async fn end_offsets(&self) -> Result<BTreeMap<TopicPartition, Offset>, ConsumeError> {
        offsets::ask_all(&self.client, self.assignment(), LogEnd::End, self.config.isolation).await
    }

    /// The first offset that each assigned partition still holds. The leaders are asked.
    ///
    /// # Errors
    /// As [`Consumer::end_offsets`].
    pub async fn beginning_offsets(&self) -> Result<BTreeMap<TopicPartition, Offset>, ConsumeError> {
        offsets::ask_all(
            &self.client,
            self.assignment(),
            LogEnd::Beginning,
            self.config.isolation,
        )
        .await
    }

    /// Whether each of these partitions has been read up to the offset given, exclusive. Partitions that are not
    /// assigned any more do not count.
    pub fn has_reached(&self, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
        let core = self.shared.core();
        let reached = |(partition, end): (&TopicPartition, &Offset)| {
            !core.is_assigned(partition) || core.position(partition).is_some_and(|position| position >= *end)
        };
        ends.iter().all(reached)
    }

    /// The next records, waiting up to `timeout` for the first; at most `poll_records_max`. Empty when the time is
    /// over, and early when a position became known or moved past something that is not shown, such as the end of a
    /// transaction.
    ///
    /// Positions move when `poll` returns. Dropping it before that loses nothing.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let mut consumer = client.consumer(klamm_client::ConsumerConfig::default());
    /// # consumer.assign_topic("orders", klamm_client::Start::Earliest).await?;
    /// use std::time::Duration;
    ///
    /// for record in consumer.poll(Duration::from_millis(500)).await? {
    ///     for header in &record.headers {
    ///         println!("{}: {:?}", header.key_text(), header.value);
    ///     }
    /// }
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A partition cannot be read; see [`ConsumeError`]. Errors come before records, and those that stop a partition
    /// come back with each call until the program seeks, pauses or unassigns it.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ConsumeError> {
        let deadline = Instant::now().checked_add(timeout);
        // A loop that finds records every time would otherwise never let go of its thread.
        tokio::task::coop::consume_budget().await;
        let _polling = self.polling();
        loop {
            self.take_turns().await?;
            if let Some(records) = self.collect(self.config.poll_records_max.max(1))? {
                return Ok(records);
            }
            if !self.wait(deadline).await {
                return Ok(Vec::new());
            }
        }
    }

    /// The next record, however long it takes. For many records [`poll`](Consumer::poll) is the faster way; both may be
    /// mixed.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub async fn recv(&mut self) -> Result<ConsumerRecord, ConsumeError> {
        tokio::task::coop::consume_budget().await;
        let _polling = self.polling();
        loop {
            self.take_turns().await?;
            if let Some(record) = self.collect(1)?.and_then(|mut records| records.pop()) {
                return Ok(record);
            }
            self.wait(None).await;
        }
    }

    fn polling(&self) -> Option<Polling> {
        self.group.as_ref().map(Group::polling)
    }

    /// Waits for something to hand out; false when the time is over.
    async fn wait(&self, deadline: Option<Instant>) -> bool {
        let ready = self.shared.ready.notified();
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, ready).await.is_ok(),
            None => {
                ready.await;
                true
            }
        }
    }

    /// Takes what is there; `None` if nothing happened. Does not wait, so it is done wholly or not at all.
    fn collect(&mut self, records_max: usize) -> Result<Option<Vec<ConsumerRecord>>, ConsumeError> {
        let room = Room {
            records_max,
            bytes_max: self.config.fetch_bytes_max.max(1),
        };
        let reader = &mut self.reader;
        collect(self.client.now(), &self.shared, room, |lease, room, records| {
            reader.read(lease, room, records)
        })
    }
}
