//! What must not be, by the names and in the meaning of Jepsen's workload for Kafka; and what was found of it.

use std::collections::BTreeMap;
use std::fmt;

use klamm_invariants::Invariant;
use serde::{Serialize, Serializer};

/// The kinds of anomalies, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    LostWrite,
    #[serde(rename = "G1a")]
    G1a,
    InconsistentOffsets,
    Duplicate,
    NonmonotonicSend,
    NonmonotonicPoll,
    PollSkip,
    Unseen,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::LostWrite,
        Kind::G1a,
        Kind::InconsistentOffsets,
        Kind::Duplicate,
        Kind::NonmonotonicSend,
        Kind::NonmonotonicPoll,
        Kind::PollSkip,
        Kind::Unseen,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::LostWrite => "lost-write",
            Kind::G1a => "G1a",
            Kind::InconsistentOffsets => "inconsistent-offsets",
            Kind::Duplicate => "duplicate",
            Kind::NonmonotonicSend => "nonmonotonic-send",
            Kind::NonmonotonicPoll => "nonmonotonic-poll",
            Kind::PollSkip => "poll-skip",
            Kind::Unseen => "unseen",
        }
    }

    /// For people who do not know the names.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::LostWrite => "acknowledged, passed over by everyone who read, and never read",
            Kind::G1a => "refused or aborted for good, and read all the same",
            Kind::InconsistentOffsets => "one offset with two values, or a value elsewhere than acknowledged",
            Kind::Duplicate => "one value at two offsets",
            Kind::NonmonotonicSend => "a producer's later value stands before an earlier one",
            Kind::NonmonotonicPoll => "a reader went back, or a group behind what it had committed",
            Kind::PollSkip => "a reader or a group passed over an offset that exists",
            Kind::Unseen => "acknowledged, and not read when the time for reading was over",
        }
    }
}

impl Kind {
    /// The promise of Klamm that is broken by it, as the simulation numbers it.
    pub fn promise(self) -> Invariant {
        match self {
            Kind::LostWrite => Invariant::NoAcknowledgedLoss,
            Kind::G1a => Invariant::ReadConsistency,
            Kind::InconsistentOffsets => Invariant::LogMatching,
            Kind::Duplicate => Invariant::NoDuplicate,
            Kind::NonmonotonicSend => Invariant::Order,
            Kind::NonmonotonicPoll => Invariant::HighWatermarkMonotonic,
            Kind::PollSkip => Invariant::OffsetsNeverSkipped,
            Kind::Unseen => Invariant::Progress,
        }
    }
}

/// Who read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// Reads a whole partition by itself.
    Partition(u32),
    /// A member of the group.
    Member(u32),
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reader::Partition(number) => write!(f, "reader {number}"),
            Reader::Member(number) => write!(f, "member {number}"),
        }
    }
}

impl Serialize for Reader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who should have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    Anyone,
    Group,
}

/// One thing that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "anomaly", rename_all = "kebab-case")]
pub enum Anomaly {
    LostWrite {
        partition: i32,
        value: String,
        offset: i64,
    },
    #[serde(rename = "G1a")]
    G1a {
        partition: i32,
        value: String,
        offset: i64,
    },
    InconsistentOffsets {
        partition: i32,
        offset: i64,
        expected: String,
        found: String,
    },
    /// Without the first offset if that was so long ago that it is not kept any more.
    Duplicate {
        partition: i32,
        value: String,
        offsets: (Option<i64>, i64),
    },
    NonmonotonicSend {
        partition: i32,
        earlier: String,
        later: String,
    },
    NonmonotonicPoll {
        partition: i32,
        reader: Reader,
        from: i64,
        to: i64,
    },
    PollSkip {
        partition: i32,
        reader: Reader,
        offset: i64,
    },
    Unseen {
        partition: i32,
        value: String,
        offset: i64,
        by: Audience,
    },
}

impl Anomaly {
    pub fn kind(&self) -> Kind {
        match self {
            Anomaly::LostWrite { .. } => Kind::LostWrite,
            Anomaly::G1a { .. } => Kind::G1a,
            Anomaly::InconsistentOffsets { .. } => Kind::InconsistentOffsets,
            Anomaly::Duplicate { .. } => Kind::Duplicate,
            Anomaly::NonmonotonicSend { .. } => Kind::NonmonotonicSend,
            Anomaly::NonmonotonicPoll { .. } => Kind::NonmonotonicPoll,
            Anomaly::PollSkip { .. } => Kind::PollSkip,
            Anomaly::Unseen { .. } => Kind::Unseen,
        }
    }

    pub fn partition(&self) -> i32 {
        match self {
            Anomaly::LostWrite { partition, .. }
            | Anomaly::G1a { partition, .. }
            | Anomaly::InconsistentOffsets { partition, .. }
            | Anomaly::Duplicate { partition, .. }
            | Anomaly::NonmonotonicSend { partition, .. }
            | Anomaly::NonmonotonicPoll { partition, .. }
            | Anomaly::PollSkip { partition, .. }
            | Anomaly::Unseen { partition, .. } => *partition,
        }
    }
}

/// What happened, without the partition.
impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anomaly::LostWrite { value, offset, .. } => write!(f, "{value} acknowledged at {offset}, never read"),
            Anomaly::G1a { value, offset, .. } => write!(f, "{value} was refused, and is read at {offset}"),
            Anomaly::InconsistentOffsets {
                offset,
                expected,
                found,
                ..
            } => write!(f, "offset {offset}: expected {expected}, found {found}"),
            Anomaly::Duplicate { value, offsets, .. } => match offsets {
                (Some(first), again) => write!(f, "{value} at {first} and at {again}"),
                (None, again) => write!(f, "{value} again at {again}"),
            },
            Anomaly::NonmonotonicSend { earlier, later, .. } => write!(f, "{later} stands before {earlier}"),
            Anomaly::NonmonotonicPoll { reader, from, to, .. } => write!(f, "{reader} went from {from} to {to}"),
            Anomaly::PollSkip { reader, offset, .. } => write!(f, "{reader} passed over {offset}"),
            Anomaly::Unseen { value, offset, by, .. } => match by {
                Audience::Anyone => write!(f, "{value} acknowledged at {offset}, not read"),
                Audience::Group => write!(f, "{value} at {offset} not read by the group"),
            },
        }
    }
}

/// Examples that are kept of each kind.
const EXAMPLES_MAX: usize = 5;

/// How often each kind was found, and the first few of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    counts: BTreeMap<Kind, u64>,
    examples: BTreeMap<Kind, Vec<Anomaly>>,
}

impl Findings {
    pub(crate) fn note(&mut self, anomaly: Anomaly) {
        let kind = anomaly.kind();
        *self.counts.entry(kind).or_default() += 1;
        let examples = self.examples.entry(kind).or_default();
        if examples.len() < EXAMPLES_MAX {
            examples.push(anomaly);
        }
    }

    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The kinds that were found, with how often.
    pub fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    /// The first few of each kind, the worst kind first.
    pub fn examples(&self) -> impl Iterator<Item = &Anomaly> {
        self.examples.values().flatten()
    }
}
