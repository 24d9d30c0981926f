//! How a consumer takes part in a group.

use std::time::Duration;

use super::assignor::Assignor;

/// Which of Kafka's two group protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup, SyncGroup, Heartbeat: one of the members shares the partitions out. The default, as in Kafka; every
    /// cluster knows it.
    #[default]
    Classic,
    /// KIP-848: the coordinator shares the partitions out, and members take over their changes one by one. Needs Kafka
    /// 4.0 or another cluster that knows ConsumerGroupHeartbeat. Members of both kinds in one group are possible if the
    /// cluster allows it. `session_timeout` and `heartbeat_interval` are the cluster's settings then, and `assignors`
    /// are not used.
    Consumer,
}

/// The group of a consumer; part of [`ConsumerConfig`](crate::ConsumerConfig).
///
/// ```
/// use std::time::Duration;
/// use klamm_client::{ConsumerConfig, GroupConfig, OffsetReset};
///
/// let config = ConsumerConfig {
///     offset_reset: OffsetReset::Earliest,
///     group: Some(GroupConfig { max_poll_interval: Duration::from_secs(60), ..GroupConfig::new("billing") }),
///     ..ConsumerConfig::default()
/// };
/// assert_eq!(config.group.unwrap().auto_commit_interval, Some(Duration::from_secs(5)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The group's name. Those who subscribe under the same name share the partitions; offsets are stored under it.
    pub group_id: String,
    /// Default [`GroupProtocol::Classic`].
    pub group_protocol: GroupProtocol,
    /// Makes the consumer a static member: under this name it may stop and come back within `session_timeout` and gets
    /// the same partitions again, without a rebalance. It does not leave the group when it is closed. Two consumers
    /// under one name fence each other. Default none.
    pub group_instance_id: Option<String>,
    /// What this member offers to share the partitions out by, the best first. Default range and cooperative-sticky, as
    /// in Kafka: the group uses range, and can be moved to cooperative-sticky alone without stopping.
    pub assignors: Vec<Assignor>,
    /// The coordinator's assignor of [`GroupProtocol::Consumer`], `uniform` or `range`; the one that most members name
    /// is used. Default: the cluster decides.
    pub group_remote_assignor: Option<String>,
    /// Without a heartbeat for so long, the coordinator takes the member for dead and gives its partitions to others.
    /// Default 45 s. The cluster has limits (in Kafka 6 s to 30 min). Only [`GroupProtocol::Classic`].
    pub session_timeout: Duration,
    /// The time between two heartbeats; also how long a member may take to hear of a rebalance. Default 3 s, and no more
    /// than a third of `session_timeout`. Only [`GroupProtocol::Classic`].
    pub heartbeat_interval: Duration,
    /// A program that does not call `poll` or `recv` for so long is taken for stuck: the consumer leaves the group, and
    /// comes back with the next call. Also how long others wait for this member in a rebalance. Default 5 min.
    pub max_poll_interval: Duration,
    /// How often positions are committed while the program polls; they are also committed before partitions are
    /// revoked, and on [`close`](crate::Consumer::close). What a call of `poll` or `recv` returned is committed at the
    /// earliest after the next call has begun. Default 5 s; `None`: only the program commits.
    pub auto_commit_interval: Option<Duration>,
    /// Where this consumer stands. Told to the group, for assignors that consider it. Default none.
    pub client_rack: Option<String>,
}

impl GroupConfig {
    /// The defaults, for this group.
    pub fn new(group_id: impl Into<String>) -> GroupConfig {
        GroupConfig {
            group_id: group_id.into(),
            group_protocol: GroupProtocol::Classic,
            group_instance_id: None,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            group_remote_assignor: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            auto_commit_interval: Some(Duration::from_secs(5)),
            client_rack: None,
        }
    }
}
