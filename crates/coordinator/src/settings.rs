//! The settings of groups, with Kafka's names and defaults.

use std::time::Duration;

/// What the broker's configuration says about groups. A field is the Kafka setting of its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`
    pub members_max: usize,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: what a member is told at most.
    pub consumer_heartbeat_interval: Duration,
    /// `klamm.group.consumer.reconcile.interval.ms`: what members are told while the group reconciles.
    pub consumer_reconcile_interval: Duration,
    /// `klamm.group.consumer.resting.interval.ms`: what a member of a small group is told at most.
    pub consumer_resting_interval: Duration,
    /// `group.consumer.max.size`
    pub consumer_members_max: usize,
    /// `group.consumer.assignment.interval.ms`
    pub consumer_assignment_interval: Duration,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1800),
            initial_rebalance_delay: Duration::from_secs(3),
            members_max: i32::MAX as usize,
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_reconcile_interval: Duration::from_millis(100),
            consumer_resting_interval: Duration::from_secs(1),
            consumer_members_max: i32::MAX as usize,
            consumer_assignment_interval: Duration::ZERO,
            offset_metadata_bytes_max: 4096,
            offsets_retention: Duration::from_secs(10_080 * 60),
            offsets_retention_check: Duration::from_secs(600),
        }
    }
}
