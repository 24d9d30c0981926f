//! The client: what producers, consumers and administration share. Configuration, metadata, short requests, a clock.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klamm_types::{ErrorCode, Moment, NodeId, Timestamp};
use klamm_wire::Request;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::consumer::{Consumer, ConsumerConfig};

use crate::error::{MetadataError, RequestError};
use crate::metadata::{Cluster, Keeper, LeaderHint, Topic};
use crate::net::{Connection, Dialer, HostPort, Pool, Reply, address};
use crate::producer::{Producer, ProducerConfig, ProducerConfigError};

/// A client of one cluster. Cheap to clone; all clones share connections and what is known of the cluster.
///
/// Needs a tokio runtime. Connections close when the last clone, producer and consumer are dropped.
///
/// ```
/// use klamm_client::{Client, ClientConfig};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = klamm_testkit::Cluster::start().await?;
/// let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await?;
/// let topic = client.topic("orders").await?;
/// println!("{} has {} partitions", topic.name, topic.partitions.len());
/// # cluster.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: ClientConfig,
    bootstrap: Vec<HostPort>,
    pool: Pool,
    keeper: Arc<Keeper>,
    keeper_task: JoinHandle<()>,
    started: Instant,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keeper_task.abort();
    }
}

impl Client {
    /// Connects to a cluster: returns when one broker has told who the others are.
    ///
    /// # Errors
    /// The bootstrap list is empty or malformed, or no broker answered within `api_timeout`.
    pub async fn connect(config: ClientConfig) -> Result<Client, MetadataError> {
        let client = Client::start(config)?;
        let timeout = client.inner.config.api_timeout;
        client.inner.keeper.refresh();
        client.inner.keeper.wait_for_first(timeout).await?;
        Ok(client)
    }

    /// Makes a client without waiting for the cluster. What is done with it waits instead.
    ///
    /// # Errors
    /// The bootstrap list is empty or malformed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: ClientConfig) -> Result<Client, MetadataError> {
        let bootstrap = address::parse_list(&config.bootstrap).map_err(MetadataError::BadBootstrap)?;
        if bootstrap.is_empty() {
            return Err(MetadataError::NoBootstrap);
        }
        let dialer = Dialer {
            client_id: config.client_id.clone(),
            timeout: config.connect_timeout,
        };
        let keeper_config = crate::metadata::KeeperConfig {
            bootstrap: bootstrap.clone(),
            request_timeout: config.request_timeout,
            interval_min: config.retry_backoff,
            age_max: config.metadata_max_age,
            create_topics: config.auto_create_topics,
        };
        let keeper = Arc::new(Keeper::new(keeper_config, Pool::new(dialer.clone())));
        let kept = Arc::clone(&keeper);
        let keeper_task = tokio::spawn(async move { kept.run().await });
        let pool = Pool::new(dialer);
        let inner = Inner {
            config,
            bootstrap,
            pool,
            keeper,
            keeper_task,
            started: Instant::now(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// A producer with these settings.
    ///
    /// # Errors
    /// The settings contradict each other.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, ProducerConfigError> {
        Producer::start(self.clone(), config)
    }

    /// A consumer with these settings, to which nothing is assigned yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        Consumer::start(self.clone(), config)
    }

    /// Administration: topics, settings, the cluster itself.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// What is known of the cluster just now. It holds only the topics that were asked for.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.inner.keeper.cluster()
    }

    /// What is known of the cluster, and every change of it.
    pub fn watch_cluster(&self) -> watch::Receiver<Arc<Cluster>> {
        self.inner.keeper.watch()
    }

    /// Asks for a fresh picture of the cluster. Returns at once; [`Client::watch_cluster`] tells when it is there.
    pub fn refresh(&self) {
        self.inner.keeper.refresh();
    }

    /// Looks up a topic, waiting up to `api_timeout` for it to appear.
    ///
    /// # Errors
    /// No broker answers, the topic does not appear in time, or its name is refused.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>, MetadataError> {
        self.topic_within(name, self.inner.config.api_timeout).await
    }

    /// As [`Client::topic`], but waits no longer than `timeout`.
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn topic_within(&self, name: &str, timeout: Duration) -> Result<Arc<Topic>, MetadataError> {
        self.inner.keeper.want(name);
        let found = self.inner.keeper.wait_for(timeout, |cluster| {
            let topic = cluster.topics.get(name)?;
            match topic.error {
                None => Some(Ok(Arc::clone(topic))),
                Some(code) if code.is_retriable() => None,
                Some(code) => Some(Err(MetadataError::Refused {
                    topic: name.to_owned(),
                    code,
                })),
            }
        });
        match found.await {
            Ok(outcome) => outcome,
            Err(MetadataError::NoBroker { cause: None, waited }) => Err(MetadataError::UnknownTopic {
                topic: name.to_owned(),
                waited,
            }),
            Err(failure) => Err(failure),
        }
    }

    pub(crate) fn want_topic(&self, name: &str) {
        self.inner.keeper.want(name);
    }

    pub(crate) fn hint(&self, hint: LeaderHint) {
        self.inner.keeper.hint(hint);
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        self.inner.pool.dialer()
    }

    /// Microseconds since this client was made.
    pub(crate) fn now(&self) -> Moment {
        Moment(u64::try_from(self.inner.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When `moment` is on the runtime's clock.
    pub(crate) fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.inner.started + Duration::from_micros(moment.0))
    }

    /// The shared connection to a broker that the picture names.
    pub(crate) async fn connection(&self, node: NodeId) -> Result<Connection, RequestError> {
        let address = self.cluster().brokers.get(&node).map(crate::metadata::Broker::address);
        let address = address.ok_or(RequestError::UnknownBroker { node: node.0 })?;
        self.connection_at(&address).await
    }

    /// The shared connection to a broker at this address.
    pub(crate) async fn connection_at(&self, address: &HostPort) -> Result<Connection, RequestError> {
        self.inner.pool.get(address).await.map_err(RequestError::Connect)
    }

    /// Where brokers are: those in the picture, then the bootstrap list.
    pub(crate) fn addresses(&self) -> Vec<HostPort> {
        let cluster = self.cluster();
        let known = cluster.brokers.values().map(crate::metadata::Broker::address);
        let mut addresses: Vec<HostPort> = known.collect();
        for address in &self.inner.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Sends a short request to one broker.
    pub(crate) async fn call<R: Request>(&self, node: NodeId, request: &R) -> Result<Reply, RequestError> {
        self.connection(node)
            .await?
            .call(request, self.inner.config.request_timeout)
            .await
    }

    /// A connection to any broker: the first that can be had, starting with `first` if it is given.
    pub(crate) async fn any_connection(&self, first: Option<NodeId>) -> Result<Connection, RequestError> {
        let cluster = self.cluster();
        let first = first
            .and_then(|id| cluster.brokers.get(&id))
            .map(crate::metadata::Broker::address);
        let mut failure = None;
        for address in first.into_iter().chain(self.addresses()) {
            match self.inner.pool.get(&address).await {
                Ok(connection) => return Ok(connection),
                Err(cause) => failure = Some(cause),
            }
        }
        let failure = failure.map(RequestError::Connect);
        Err(failure.unwrap_or(RequestError::UnknownBroker {
            node: first_id(&cluster),
        }))
    }
}

/// For an error about a cluster without brokers; the bootstrap list is never empty, so it does not come to this.
fn first_id(cluster: &Cluster) -> i32 {
    cluster.brokers.keys().next().map_or(-1, |id| id.0)
}

/// The wall clock, for record timestamps.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A code that says nothing is no error.
pub(crate) fn check(code: i16) -> Result<(), ErrorCode> {
    match crate::error::code_from_wire(code) {
        ErrorCode::None => Ok(()),
        code => Err(code),
    }
}
