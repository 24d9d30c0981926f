//! How a client behaves towards the cluster, whatever it is used for.

use std::time::Duration;

/// Settings of a [`Client`](crate::Client). Start with [`ClientConfig::new`] and change what should differ.
///
/// ```
/// use std::time::Duration;
/// use klamm_client::ClientConfig;
///
/// let config = ClientConfig {
///     client_id: "billing".to_owned(),
///     request_timeout: Duration::from_secs(5),
///     ..ClientConfig::new("localhost:9092,localhost:9093")
/// };
/// assert_eq!(config.retry_backoff, Duration::from_millis(20));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Brokers to ask first, `host:port` separated by commas; port 9092 if left out. One that answers is enough,
    /// several let the client start while one is down.
    pub bootstrap: String,
    /// Names this program in the brokers' logs and quotas. Default `klamm`.
    pub client_id: String,
    /// How long to wait for the answer to one request before its connection is given up. Default 30 s. Shorter notices
    /// silent brokers sooner, but a value below what replication may take turns slow writes into failures.
    pub request_timeout: Duration,
    /// For resolving, dialling and the handshake of one connection. Default 5 s.
    pub connect_timeout: Duration,
    /// The pause before something that failed is tried again. Default 20 ms: a lost leader is usually replaced within
    /// 300 ms. Dials that keep failing are spaced out, up to one second; a leader that was just chosen is asked again
    /// sooner, after 2 ms at first.
    pub retry_backoff: Duration,
    /// How long an operation may take with all its retries: starting a client, looking up a topic, administration.
    /// Default 60 s. Producing has its own limit, `delivery_timeout`.
    pub api_timeout: Duration,
    /// After this long the picture of the cluster is renewed even if nothing failed. Default 5 min.
    pub metadata_max_age: Duration,
    /// Whether naming a topic that does not exist may create it, if the cluster does so (`auto.create.topics.enable`).
    /// Default true, as in Kafka; false makes a mistyped name an error.
    pub auto_create_topics: bool,
}

impl ClientConfig {
    /// The defaults, with these brokers to start from.
    pub fn new(bootstrap: impl Into<String>) -> ClientConfig {
        ClientConfig {
            bootstrap: bootstrap.into(),
            client_id: "klamm".to_owned(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            retry_backoff: Duration::from_millis(20),
            api_timeout: Duration::from_secs(60),
            metadata_max_age: Duration::from_secs(300),
            auto_create_topics: true,
        }
    }
}
