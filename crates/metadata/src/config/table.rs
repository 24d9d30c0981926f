//! The table of settings: name, type, default, bounds, what is refused for now, and a sentence for people.
//!
//! A topic setting that has a cluster-wide default names the key of that default (Kafka's broker-level name), so
//! the default of both is declared in one place. Group settings will come with groups.

/// The type of a setting's value, in Kafka's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Long,
    Double,
    List,
}

impl Kind {
    /// Kafka's number in DescribeConfigs.
    pub fn number(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
        }
    }
}

/// Which values of its type a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    Any,
    /// Both inclusive.
    Range(i64, i64),
    /// This value, or the range.
    ValueOrRange(i64, i64, i64),
    /// Both inclusive.
    Fraction(f64, f64),
    /// For strings: one of them. For lists: any of them.
    OneOf(&'static [&'static str]),
}

/// What holds beyond the bounds. The default is accepted under every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Open,
    /// Refused for now, with the reason.
    DefaultOnly(&'static str),
    /// Refused for now except on internal topics, with the reason.
    InternalOnly(&'static str),
    /// `compact` is refused for now except on internal topics.
    CleanupPolicy,
    /// 1 means `klamm.durability=fsync`; the rest is refused.
    FlushMessages,
}

/// A setting that topics take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub bounds: Bounds,
    pub rule: Rule,
    /// The key of its cluster-wide default.
    pub cluster_name: Option<&'static str>,
    pub doc: &'static str,
}

/// A setting of the whole cluster that is no topic's default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClusterSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub bounds: Bounds,
    pub doc: &'static str,
}

const LONG_MAX: &str = "9223372036854775807";
const INT: i64 = i32::MAX as i64;
const NO_COMPACTION: &str = "log compaction is not supported yet";
const NO_TIERS: &str = "tiered storage is not supported yet";
const NO_THROTTLE: &str = "replication throttles are not supported yet";
const NO_PREALLOCATION: &str = "segments are not allocated ahead yet";
const NO_FLUSH_TIMER: &str = "durability is chosen with klamm.durability, not by a timer";

const fn setting(name: &'static str, kind: Kind, default: &'static str, bounds: Bounds) -> TopicSetting {
    TopicSetting {
        name,
        kind,
        default,
        bounds,
        rule: Rule::Open,
        cluster_name: None,
        doc: "",
    }
}

impl TopicSetting {
    const fn rule(mut self, rule: Rule) -> TopicSetting {
        self.rule = rule;
        self
    }

    const fn cluster(mut self, name: &'static str) -> TopicSetting {
        self.cluster_name = Some(name);
        self
    }

    const fn doc(mut self, doc: &'static str) -> TopicSetting {
        self.doc = doc;
        self
    }
}

const NON_NEGATIVE: Bounds = Bounds::Range(0, i64::MAX);
const POSITIVE: Bounds = Bounds::Range(1, i64::MAX);
const MINUS_ONE_UP: Bounds = Bounds::Range(-1, i64::MAX);

/// Every setting that a topic takes, by name.
pub const TOPIC_SETTINGS: &[TopicSetting] = &[
    setting(
        "cleanup.policy",
        Kind::List,
        "delete",
        Bounds::OneOf(&["compact", "delete"]),
    )
    .rule(Rule::CleanupPolicy)
    .cluster("log.cleanup.policy")
    .doc("What happens to old records: delete drops whole segments by age and size; an empty list keeps all."),
    setting(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        Bounds::ValueOrRange(-1, 1, 9),
    )
    .cluster("compression.gzip.level")
    .doc("How hard the broker tries when compression.type is gzip; -1 leaves it to the codec."),
    setting("compression.lz4.level", Kind::Int, "9", Bounds::Range(1, 17))
        .cluster("compression.lz4.level")
        .doc("How hard the broker tries when compression.type is lz4."),
    setting(
        "compression.type",
        Kind::String,
        "producer",
        Bounds::OneOf(COMPRESSION_TYPES),
    )
    .cluster("compression.type")
    .doc("The codec that batches are stored in; producer keeps each batch as it came."),
    setting("compression.zstd.level", Kind::Int, "3", Bounds::Range(-131_072, 22))
        .cluster("compression.zstd.level")
        .doc("How hard the broker tries when compression.type is zstd."),
    setting("delete.retention.ms", Kind::Long, "86400000", NON_NEGATIVE)
        .rule(Rule::InternalOnly(NO_COMPACTION))
        .cluster("log.cleaner.delete.retention.ms")
        .doc("How long compaction keeps tombstones."),
    setting("file.delete.delay.ms", Kind::Long, "60000", NON_NEGATIVE)
        .cluster("log.segment.delete.delay.ms")
        .doc("How long a dropped segment's files stay on disk under another name."),
    setting("flush.messages", Kind::Long, LONG_MAX, POSITIVE)
        .rule(Rule::FlushMessages)
        .cluster("log.flush.interval.messages")
        .doc("At its default without effect; 1 means klamm.durability=fsync. Other values are refused."),
    setting("flush.ms", Kind::Long, LONG_MAX, NON_NEGATIVE)
        .rule(Rule::DefaultOnly(NO_FLUSH_TIMER))
        .cluster("log.flush.interval.ms")
        .doc("Without effect: durability is chosen with klamm.durability."),
    setting("follower.replication.throttled.replicas", Kind::List, "", Bounds::Any)
        .rule(Rule::DefaultOnly(NO_THROTTLE))
        .doc("Replicas whose fetching would be slowed down."),
    setting("index.interval.bytes", Kind::Int, "4096", Bounds::Range(0, INT))
        .cluster("log.index.interval.bytes")
        .doc("About how many bytes of log lie between two entries of the offset index."),
    setting(
        "klamm.durability",
        Kind::String,
        "fsync",
        Bounds::OneOf(&["fsync", "replicated"]),
    )
    .cluster("klamm.durability")
    .doc(
        "When a write counts as acknowledged: fsync, once every in-sync replica has flushed it to its disk; \
             replicated, once every in-sync replica has written it to its file, which survives the death of \
             processes but not of all machines at once.",
    ),
    setting("leader.replication.throttled.replicas", Kind::List, "", Bounds::Any)
        .rule(Rule::DefaultOnly(NO_THROTTLE))
        .doc("Replicas whose serving of followers would be slowed down."),
    setting("local.retention.bytes", Kind::Long, "-2", Bounds::Range(-2, i64::MAX))
        .rule(Rule::DefaultOnly(NO_TIERS))
        .cluster("log.local.retention.bytes")
        .doc("How much of a tiered log stays on local disk, by size."),
    setting("local.retention.ms", Kind::Long, "-2", Bounds::Range(-2, i64::MAX))
        .rule(Rule::DefaultOnly(NO_TIERS))
        .cluster("log.local.retention.ms")
        .doc("How much of a tiered log stays on local disk, by age."),
    setting("max.compaction.lag.ms", Kind::Long, LONG_MAX, POSITIVE)
        .rule(Rule::InternalOnly(NO_COMPACTION))
        .cluster("log.cleaner.max.compaction.lag.ms")
        .doc("The longest that a record stays out of compaction's reach."),
    setting("max.message.bytes", Kind::Int, "1048588", Bounds::Range(0, INT))
        .cluster("message.max.bytes")
        .doc("The largest batch that the topic takes, as it is stored."),
    setting("message.timestamp.after.max.ms", Kind::Long, "3600000", NON_NEGATIVE)
        .cluster("log.message.timestamp.after.max.ms")
        .doc("How far a record's CreateTime may lie ahead of the broker's clock."),
    setting("message.timestamp.before.max.ms", Kind::Long, LONG_MAX, NON_NEGATIVE)
        .cluster("log.message.timestamp.before.max.ms")
        .doc("How far a record's CreateTime may lie behind the broker's clock."),
    setting(
        "message.timestamp.type",
        Kind::String,
        "CreateTime",
        Bounds::OneOf(&["CreateTime", "LogAppendTime"]),
    )
    .cluster("log.message.timestamp.type")
    .doc("Whose clock stamps records: the producer's (CreateTime) or the leader's (LogAppendTime)."),
    setting(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Bounds::Fraction(0.0, 1.0),
    )
    .rule(Rule::InternalOnly(NO_COMPACTION))
    .cluster("log.cleaner.min.cleanable.ratio")
    .doc("The share of uncompacted log from which on compaction starts."),
    setting("min.compaction.lag.ms", Kind::Long, "0", NON_NEGATIVE)
        .rule(Rule::InternalOnly(NO_COMPACTION))
        .cluster("log.cleaner.min.compaction.lag.ms")
        .doc("The shortest that a record stays out of compaction's reach."),
    setting("min.insync.replicas", Kind::Int, "2", Bounds::Range(1, INT))
        .cluster("min.insync.replicas")
        .doc("How many replicas must be in sync for a write with acks=all; never more than there are replicas."),
    setting("preallocate", Kind::Boolean, "false", Bounds::Any)
        .rule(Rule::DefaultOnly(NO_PREALLOCATION))
        .cluster("log.preallocate")
        .doc("Whether a new segment's file is allocated whole."),
    setting("remote.log.copy.disable", Kind::Boolean, "false", Bounds::Any)
        .rule(Rule::DefaultOnly(NO_TIERS))
        .doc("Whether a tiered log stops copying segments away."),
    setting("remote.log.delete.on.disable", Kind::Boolean, "false", Bounds::Any)
        .rule(Rule::DefaultOnly(NO_TIERS))
        .doc("Whether remote segments are dropped when tiering ends."),
    setting("remote.storage.enable", Kind::Boolean, "false", Bounds::Any)
        .rule(Rule::DefaultOnly(NO_TIERS))
        .doc("Whether the log is tiered."),
    // Any negative number is "no limit", as in Kafka.
    setting("retention.bytes", Kind::Long, "-1", Bounds::Range(i64::MIN, i64::MAX))
        .cluster("log.retention.bytes")
        .doc("The size from which on a partition drops its oldest segments; -1 for no limit."),
    setting("retention.ms", Kind::Long, "604800000", MINUS_ONE_UP)
        .cluster("log.retention.ms")
        .doc("The age from which on segments are dropped; -1 for no limit."),
    setting("segment.bytes", Kind::Int, "1073741824", Bounds::Range(1_048_576, INT))
        .cluster("log.segment.bytes")
        .doc("The size at which a segment is closed and the next begun."),
    setting("segment.index.bytes", Kind::Int, "10485760", Bounds::Range(4, INT))
        .cluster("log.index.size.max.bytes")
        .doc("The size of a segment's index at which the next segment is begun."),
    setting("segment.jitter.ms", Kind::Long, "0", NON_NEGATIVE)
        .cluster("log.roll.jitter.ms")
        .doc("Up to so much earlier a segment is closed by age, so that not all are closed at once."),
    setting("segment.ms", Kind::Long, "604800000", POSITIVE)
        .cluster("log.roll.ms")
        .doc("The age at which a segment is closed even if it is not full."),
    setting("unclean.leader.election.enable", Kind::Boolean, "false", Bounds::Any)
        .cluster("unclean.leader.election.enable")
        .doc("Whether a replica that may lack acknowledged records may lead when no other can."),
];

const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const fn cluster(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    bounds: Bounds,
    doc: &'static str,
) -> ClusterSetting {
    ClusterSetting {
        name,
        kind,
        default,
        bounds,
        doc,
    }
}

/// Every setting of the cluster that is no topic's default, by name.
pub const CLUSTER_SETTINGS: &[ClusterSetting] = &[
    cluster(
        "auto.create.topics.enable",
        Kind::Boolean,
        "true",
        Bounds::Any,
        "Whether a client that names an unknown topic may have it created.",
    ),
    cluster(
        "auto.leader.rebalance.enable",
        Kind::Boolean,
        "true",
        Bounds::Any,
        "Whether preferred leaders are put back in the lead from time to time.",
    ),
    cluster(
        "broker.session.timeout.ms",
        Kind::Int,
        "2000",
        Bounds::Range(100, INT),
        "How long a broker may be silent before it is fenced.",
    ),
    cluster(
        "default.replication.factor",
        Kind::Int,
        "3",
        Bounds::Range(1, 32_767),
        "Replicas of a topic created without saying how many; never more than there are brokers.",
    ),
    cluster(
        "delete.topic.enable",
        Kind::Boolean,
        "true",
        Bounds::Any,
        "Whether topics may be deleted.",
    ),
    cluster(
        "group.initial.rebalance.delay.ms",
        Kind::Int,
        "3000",
        Bounds::Range(0, INT),
        "How long a new group waits for more members before its first assignment.",
    ),
    cluster(
        "num.partitions",
        Kind::Int,
        "1",
        Bounds::Range(1, INT),
        "Partitions of a topic created without saying how many.",
    ),
    cluster(
        "replica.lag.time.max.ms",
        Kind::Long,
        "2000",
        Bounds::Range(100, i64::MAX),
        "How long a follower may lag behind before it leaves the ISR.",
    ),
];

/// The topic setting of this name.
pub fn topic_setting(name: &str) -> Option<&'static TopicSetting> {
    let position = TOPIC_SETTINGS.binary_search_by(|setting| setting.name.cmp(name));
    position.ok().and_then(|position| TOPIC_SETTINGS.get(position))
}

/// The setting of this cluster-level name, also where it is the default of a topic setting.
pub fn cluster_setting(name: &str) -> Option<ClusterSetting> {
    if let Some(setting) = CLUSTER_SETTINGS.iter().find(|setting| setting.name == name) {
        return Some(*setting);
    }
    let setting = topic_default(name)?;
    Some(ClusterSetting {
        name: setting.cluster_name?,
        kind: setting.kind,
        default: setting.default,
        bounds: setting.bounds,
        doc: setting.doc,
    })
}

/// The topic setting whose default has this cluster-level name.
pub(super) fn topic_default(name: &str) -> Option<&'static TopicSetting> {
    TOPIC_SETTINGS.iter().find(|setting| setting.cluster_name == Some(name))
}
