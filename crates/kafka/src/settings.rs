//! What the front end is told at its start: listeners and limits. Read-only afterwards; nothing here reads a file or
//! an environment variable.

use std::time::Duration;

/// Where clients connect, and what they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// The name under which brokers register it. A client is told the addresses of the listener it came in through.
    pub name: String,
    pub bind_host: String,
    /// 0 takes a free port.
    pub bind_port: u16,
    /// `None`: the address at which the client's connection arrived.
    pub advertised_host: Option<String>,
    /// `None`: the port that was bound.
    pub advertised_port: Option<u16>,
}

/// The front end's settings. Every limit is one of memory or of patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listeners: Vec<ListenerSettings>,
    /// Connections over all listeners; further ones are closed at once.
    pub connections_max: usize,
    /// The largest request. A larger one ends its connection.
    pub request_bytes_max: usize,
    /// Memory for requests that are being read or answered, over all connections. At least one request of
    /// `request_bytes_max` always fits.
    pub request_memory_bytes_max: usize,
    /// How long a request waits for memory before its connection is closed.
    pub request_memory_wait_max: Duration,
    /// A connection that neither sends nor is sent anything for so long is closed.
    pub idle_max: Duration,
    /// A connection that holds memory for half a request and sends nothing for so long is closed.
    pub stalled_max: Duration,
    /// Produce requests of one connection that may wait for their acknowledgement at a time. Further ones wait in
    /// the socket.
    pub produce_in_flight_max: usize,
    /// The bytes of one Fetch answer, whatever the client allows; the first batch is whole even if it is larger.
    pub fetch_bytes_max: usize,
    /// Partitions in one answer to DescribeTopicPartitions.
    pub describe_partitions_max: usize,
    /// How long a stop waits for the answers that are under way.
    pub stop_wait_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            connections_max: 20_000,
            request_bytes_max: 104_857_600,
            request_memory_bytes_max: 512 << 20,
            request_memory_wait_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(600),
            stalled_max: Duration::from_secs(60),
            produce_in_flight_max: 64,
            fetch_bytes_max: 57_671_680,
            describe_partitions_max: 2000,
            stop_wait_max: Duration::from_secs(2),
        }
    }
}
