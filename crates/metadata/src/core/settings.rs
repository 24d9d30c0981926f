//! The limits of a controller's waits and queues. The session time-out is not here: it is a cluster setting and
//! lives in the metadata (`broker.session.timeout.ms`).

use std::time::Duration;

use klamm_types::ClusterId;

/// Declared once; [`Settings::default`] is what a cluster runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often the shell sends a tick.
    pub tick_interval: Duration,
    /// A step that comes later than this after the tick was due restarts all waits: the judge itself was asleep.
    pub lateness_max: Duration,
    /// For so long only time-outs count for a broker that a probe had fenced wrongly.
    pub probe_distrust: Duration,
    /// Requests waiting to be decided; more are answered REQUEST_TIMED_OUT at once.
    pub requests_max: usize,
    /// A request that waited so long to be decided is answered REQUEST_TIMED_OUT.
    pub request_wait_max: Duration,
    /// Records taken into one entry, in encoded bytes. One decision is never split, so an entry can exceed it by
    /// the records of its last decision; the limits of transport and store lie above.
    pub batch_bytes_max: usize,
    /// How long a reply about new partitions waits for their leaders to take them up.
    pub take_up_wait_max: Duration,
    /// How often preferred leaders are put back in the lead.
    pub balance_interval: Duration,
    /// A broker that lacks more than this share of the partitions it should lead gets them back, in percent.
    pub balance_imbalance_percent: u32,
    /// Leaders moved by one balancing entry.
    pub balance_moves_max: usize,
    /// The cluster id to write into an empty quorum; drawn at random if none is given.
    pub cluster_id: Option<ClusterId>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tick_interval: Duration::from_millis(50),
            lateness_max: Duration::from_millis(500),
            probe_distrust: Duration::from_secs(300),
            requests_max: 10_000,
            request_wait_max: Duration::from_secs(10),
            batch_bytes_max: 512 * 1024,
            take_up_wait_max: Duration::from_secs(2),
            balance_interval: Duration::from_secs(300),
            balance_imbalance_percent: 10,
            balance_moves_max: 1_000,
            cluster_id: None,
        }
    }
}
