//! The program's side of a group: subscribing, commits, leaving. Methods of the consumer that only groups need.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use klamm_types::Uuid;
use regex::Regex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::assignor::Assignor;
use super::config::{GroupConfig, GroupProtocol};
use super::core::{CoreConfig, Event, Settled, Subscription};
use super::error::{CommitError, GroupError};
use super::exchange::ExchangeConfig;
use super::link::Link;
use super::listener::{AnyListener, CommittedOffset, RebalanceListener};
use super::task;
use crate::client::Client;
use crate::consumer::handle::Consumer;
use crate::consumer::record::TopicPartition;
use crate::consumer::task::Shared;

/// JoinGroup is answered when all members are there, or when their time is over; so much more is allowed for.
const JOIN_MARGIN: Duration = Duration::from_secs(5);
/// Without a pause, retries would keep a processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What a consumer with a group has besides.
pub(in crate::consumer) struct Group {
    pub(super) config: GroupConfig,
    pub(super) link: Arc<Link>,
    pub(super) listener: Mutex<Option<Box<dyn AnyListener>>>,
    /// Partitions that were paused when they were given up; paused again if the next assignment brings them back.
    pub(super) paused: BTreeSet<TopicPartition>,
    task: JoinHandle<()>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// While it lives, the program is inside `poll`.
pub(in crate::consumer) struct Polling(Arc<Link>);

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.poll_ended();
    }
}

/// As whom a consumer takes part in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembership {
    pub group_id: String,
    pub member_id: String,
    /// The group's generation; under [`GroupProtocol::Consumer`] the member's epoch.
    pub generation: i32,
    pub group_instance_id: Option<String>,
}

/// The outcome of a commit to come. It goes on without being waited for.
#[derive(Debug)]
pub struct PendingCommit {
    state: Pending,
}

#[derive(Debug)]
enum Pending {
    Refused(Option<CommitError>),
    Asked(oneshot::Receiver<Settled>),
}

impl Future for PendingCommit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            Pending::Refused(refusal) => Poll::Ready(Err(refusal.take().unwrap_or(CommitError::Closed))),
            Pending::Asked(asked) => Pin::new(asked).poll(context).map(|settled| match settled {
                Ok(Settled::Committed(outcome)) => outcome,
                Ok(_) | Err(_) => Err(CommitError::Closed),
            }),
        }
    }
}

impl Group {
    pub fn start(client: &Client, config: GroupConfig, fetching: &Arc<Shared>) -> Group {
        let shared = client.config();
        let heartbeat_interval = config.heartbeat_interval.min(config.session_timeout / 3);
        let core = CoreConfig {
            protocol: config.group_protocol,
            instance_id: config.group_instance_id.clone(),
            member_id: Uuid::from_u128(rand::random()).to_string(),
            assignors: config.assignors.clone(),
            remote_assignor: config.group_remote_assignor.clone(),
            heartbeat_interval: heartbeat_interval.max(PAUSE_MIN),
            max_poll_interval: config.max_poll_interval,
            auto_commit_interval: config.auto_commit_interval,
            rack: config.client_rack.clone(),
            retry_backoff: shared.retry_backoff.max(PAUSE_MIN),
            api_timeout: shared.api_timeout,
            metadata_max_age: shared.metadata_max_age,
        };
        let exchange = ExchangeConfig {
            group_id: config.group_id.clone(),
            session_timeout: config.session_timeout,
            rebalance_timeout: config.max_poll_interval,
            request_timeout: shared.request_timeout,
            heartbeat_timeout: shared.request_timeout.min(config.session_timeout / 3),
            join_timeout: config.max_poll_interval.saturating_add(JOIN_MARGIN),
        };
        let link = Arc::new(Link::new(client.clone(), Arc::clone(fetching), core));
        let task = tokio::spawn(task::run(Arc::clone(&link), exchange));
        Group {
            config,
            link,
            listener: Mutex::new(None),
            paused: BTreeSet::new(),
            task,
        }
    }

    /// The program asks for records, and has dealt with what it got before.
    pub fn polling(&self) -> Polling {
        self.link.poll_started();
        Polling(Arc::clone(&self.link))
    }

    fn check(&self) -> Result<(), GroupError> {
        let config = &self.config;
        let bad = |reason| Err(GroupError::BadSetting { reason });
        let twice = |assignor: &Assignor| config.assignors.iter().filter(|other| *other == assignor).count() > 1;
        if config.group_id.is_empty() {
            return bad("the group id is empty");
        }
        if config.group_instance_id.as_deref() == Some("") {
            return bad("the group instance id is empty");
        }
        if config.max_poll_interval.is_zero() || config.session_timeout.is_zero() {
            return bad("max_poll_interval and session_timeout must be above zero");
        }
        let classic = config.group_protocol == GroupProtocol::Classic;
        if classic && (config.assignors.is_empty() || config.assignors.iter().any(twice)) {
            return bad("assignors must be at least one, each once");
        }
        Ok(())
    }
}

impl Consumer {
    /// Takes part in the group: reads a share of these topics' partitions, from the offsets that the group has
    /// committed. Replaces what was subscribed to before. Topics that do not exist yet are read once they do.
    ///
    /// Joining happens while the program polls, and so does every rebalance: [`poll`](Consumer::poll) has to be called
    /// at least every `max_poll_interval`. Partitions that the program assigned itself are read beside those of the
    /// group.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// use klamm_client::{ConsumerConfig, GroupConfig, OffsetReset};
    ///
    /// let config = ConsumerConfig {
    ///     group: Some(GroupConfig::new("billing")),
    ///     offset_reset: OffsetReset::Earliest,
    ///     ..ConsumerConfig::default()
    /// };
    /// let mut consumer = client.consumer(config);
    /// consumer.subscribe(["orders", "returns"])?;
    /// let record = consumer.recv().await?;
    /// println!("{}-{}: {:?}", record.topic, record.partition, record.value);
    /// consumer.close().await?;
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GroupError::NoGroup`], [`GroupError::BadSetting`]. What goes wrong later, `poll` tells.
    pub fn subscribe<T: Into<Arc<str>>>(&mut self, topics: impl IntoIterator<Item = T>) -> Result<(), GroupError> {
        let topics = topics.into_iter().map(Into::into).collect();
        self.subscribe_to(Subscription::Topics(topics))
    }

    /// As [`subscribe`](Consumer::subscribe), to all topics whose whole name matches a regular expression, those that
    /// come later too. Internal topics are left out. Under [`GroupProtocol::Consumer`] the coordinator matches, by its
    /// own rules (in Kafka those of RE2).
    ///
    /// # Errors
    /// As [`subscribe`](Consumer::subscribe), and [`GroupError::BadPattern`].
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<(), GroupError> {
        let text = pattern.to_owned();
        let regex =
            Regex::new(&format!("^(?:{pattern})$")).map_err(|_| GroupError::BadPattern { pattern: text.clone() })?;
        self.subscribe_to(Subscription::Pattern { text, regex })
    }

    fn subscribe_to(&mut self, subscription: Subscription) -> Result<(), GroupError> {
        let group = self.group.as_ref().ok_or(GroupError::NoGroup)?;
        group.check()?;
        group.link.step(Event::Subscribe(subscription));
        Ok(())
    }

    /// The topics subscribed to; of a pattern those that matched last. Under [`GroupProtocol::Consumer`] the topics that
    /// match a pattern are not known here.
    pub fn subscription(&self) -> BTreeSet<Arc<str>> {
        let topics = |group: &Group| group.link.look(|core| core.subscribed_topics());
        self.group.as_ref().map(topics).unwrap_or_default()
    }

    /// Sets who is told of partitions that come and go. Replaces the one set before.
    pub fn on_rebalance(&mut self, listener: impl RebalanceListener) {
        if let Some(group) = &mut self.group {
            *group.listener.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(listener));
        }
    }

    /// As whom this consumer takes part in its group; `None` while it does not.
    pub fn group_membership(&self) -> Option<GroupMembership> {
        let group = self.group.as_ref()?;
        let identity = group.link.look(|core| core.membership())?;
        Some(GroupMembership {
            group_id: group.config.group_id.clone(),
            member_id: identity.member_id,
            generation: identity.generation,
            group_instance_id: identity.instance_id,
        })
    }

    /// Commits the positions of all assigned partitions: everything that was handed out so far counts as dealt with.
    /// Retries until it is stored, refused, or the client's `api_timeout` is over. The offset of a topic that does not
    /// exist is refused after a second at most; what else the commit has is stored.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let config = klamm_client::ConsumerConfig {
    /// #     group: Some(klamm_client::GroupConfig::new("billing")),
    /// #     offset_reset: klamm_client::OffsetReset::Earliest,
    /// #     ..klamm_client::ConsumerConfig::default()
    /// # };
    /// # let mut consumer = client.consumer(config);
    /// # consumer.subscribe(["orders"])?;
    /// use std::time::Duration;
    /// use klamm_client::CommitError;
    ///
    /// for record in consumer.poll(Duration::from_secs(1)).await? {
    ///     println!("{:?}", record.value);
    /// }
    /// match consumer.commit().await {
    ///     // The next poll takes part in the rebalance; what is still ours then can be committed.
    ///     Err(failure) if failure.is_retriable() => {}
    ///     outcome => outcome?,
    /// }
    /// # consumer.close().await?;
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(&self) -> Result<(), CommitError> {
        self.commit_offsets(self.committable()).await
    }

    /// Commits these offsets: for each partition that of the *next* record to read. Partitions are not checked against
    /// the assignment, as an administrator may want it so.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit_offsets(&self, offsets: BTreeMap<TopicPartition, CommittedOffset>) -> Result<(), CommitError> {
        self.commit_offsets_async(offsets).await
    }

    /// As [`commit`](Consumer::commit), without waiting for it. Commits are made one after another, so a later one is
    /// never overtaken.
    pub fn commit_async(&self) -> PendingCommit {
        self.commit_offsets_async(self.committable())
    }

    /// As [`commit_offsets`](Consumer::commit_offsets), without waiting for it.
    pub fn commit_offsets_async(&self, offsets: BTreeMap<TopicPartition, CommittedOffset>) -> PendingCommit {
        self.shared.core().mark_committed(&offsets);
        let state = match &self.group {
            None => Pending::Refused(Some(CommitError::Group(GroupError::NoGroup))),
            Some(group) => Pending::Asked(group.link.ask(|waiter| Event::Commit { waiter, offsets })),
        };
        PendingCommit { state }
    }

    /// What the group has committed for these partitions; those without an offset are left out.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, CommitError> {
        let partitions: BTreeSet<_> = partitions.into_iter().collect();
        let group = self.group.as_ref().ok_or(CommitError::Group(GroupError::NoGroup))?;
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        match group
            .link
            .ask(|waiter| Event::AskCommitted { waiter, partitions })
            .await
        {
            Ok(Settled::Offsets(outcome)) => outcome,
            Ok(_) | Err(_) => Err(CommitError::Closed),
        }
    }

    /// What is read for the group if there is a subscription, else all that is assigned.
    pub(super) fn committable(&self) -> BTreeMap<TopicPartition, CommittedOffset> {
        let mut consumed = self.shared.core().consumed();
        if let Some(group) = &self.group {
            group.link.look(|core| {
                if core.is_subscribed() {
                    consumed.retain(|key, _| core.owned().contains(key));
                }
            });
        }
        consumed
    }

    /// Leaves the group, and stops reading its partitions: commits if auto commit is on, tells the listener, and says
    /// goodbye, so that others have the partitions at once. A static member (`group_instance_id`) does not say goodbye.
    /// Of partitions that are lost already the listener is told so, and nothing is committed; nor is the offset of a
    /// topic that is gone.
    ///
    /// # Errors
    /// The last commit failed; the group is left all the same.
    pub async fn unsubscribe(&mut self) -> Result<(), CommitError> {
        self.leave("the program unsubscribed").await
    }

    /// As [`unsubscribe`](Consumer::unsubscribe), and ends the consumer. Dropping a consumer instead leaves the group
    /// waiting for it until `session_timeout`, and commits nothing.
    ///
    /// # Errors
    /// The last commit failed; the consumer is closed all the same.
    pub async fn close(self) -> Result<(), CommitError> {
        self.close_because("the consumer was closed").await
    }

    /// As [`close`](Consumer::close), with a reason for the coordinator's log.
    ///
    /// # Errors
    /// As [`close`](Consumer::close).
    pub async fn close_because(mut self, reason: &str) -> Result<(), CommitError> {
        self.leave(reason).await
    }
}
