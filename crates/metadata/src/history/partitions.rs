//! The last changes of each partition. A partition that never changed has none and costs nothing.
//!
//! ```text
//!   [how it stood before] [change] [change] … [change]      each a message behind its length
//! ```
//! Entries are kept as the bytes that a snapshot holds: a few dozen each, and nothing to allocate but the whole. When
//! there are too many the first ones go, and the first that stays says how it stood before the next.

use std::sync::Arc;

use klamm_schema::Message;
use klamm_schema::metadata::{self as schema, PartitionHistoryEntry as Packed};
use klamm_types::{LeaderEpoch, NodeId, PartitionId, Timestamp, TopicId};

use super::{History, Reason};
use crate::image::PartitionState;

/// Changes that a partition keeps at most; half of them at least, if there were so many.
pub const PARTITION_ENTRIES_MAX: usize = 2 * HALF - 1;
/// Entries in half of a ring.
const HALF: usize = 12;

/// One change of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionEntry {
    pub reason: Reason,
    pub before: Leadership,
    pub after: Leadership,
    /// The leader was elected although it may lack committed records.
    pub possible_loss: bool,
    /// The partition got a leader and had had none for so long: since the decision that took it away, or since the
    /// leader was last known to work. `None` if it had one until then, or nobody knows since when it had none.
    pub without_leader_ms: Option<i64>,
}

/// Who led a partition and who might have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub isr: Vec<NodeId>,
    pub elr: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
}

/// A change as its record tells it.
pub(crate) struct Changed<'a> {
    pub old: &'a PartitionState,
    pub new: &'a PartitionState,
    pub decision: Option<&'a schema::Decision>,
    pub possible_loss: bool,
}

impl Changed<'_> {
    /// Whether people would call it a change: members in another order are none.
    pub fn is_one(&self) -> bool {
        let (old, new) = (self.old, self.new);
        let last_known = |state: &PartitionState| state.last_known_elr.iter().map(|known| known.broker).collect();
        let (old_last, new_last): (Vec<NodeId>, Vec<NodeId>) = (last_known(old), last_known(new));
        let same = |one: &[NodeId], other: &[NodeId]| {
            one.len() == other.len() && one.iter().all(|member| other.contains(member))
        };
        self.possible_loss
            || (old.leader, old.leader_epoch) != (new.leader, new.leader_epoch)
            || !(same(&old.isr, &new.isr) && same(&old.elr, &new.elr) && same(&old_last, &new_last))
    }
}

impl History {
    /// Takes down a change, and drops the oldest ones if there are too many.
    pub(crate) fn partition_changed(&mut self, topic: TopicId, partition: PartitionId, changed: &Changed<'_>) {
        let mut entry = pack(changed.new);
        if let Some(decision) = changed.decision {
            entry.at_ms = decision.decided_at_ms;
            entry.cause = decision.cause;
            entry.broker = decision.broker;
            let lost_for = decision.last_contact_at_ms.map(|lost| decision.decided_at_ms - lost);
            entry.lost_for_ms = lost_for.and_then(|lost_for| u64::try_from(lost_for).ok());
            entry.text = self.texts.hold(&decision.evidence);
        }
        entry.possible_loss = changed.possible_loss;
        let rings = Arc::make_mut(self.partitions.entry(topic).or_default());
        let ring = rings.entry(partition).or_insert_with(|| Ring::new(&pack(changed.old)));
        let (longer, dropped) = ring.with(&entry);
        *ring = longer;
        for entry in dropped {
            self.texts.release(entry.text);
        }
    }

    pub(crate) fn topic_removed(&mut self, topic: TopicId) {
        let Some(rings) = self.partitions.remove(&topic) else {
            return;
        };
        for entry in rings.values().flat_map(Ring::entries) {
            self.texts.release(entry.text);
        }
    }

    /// Oldest first.
    pub(crate) fn partition(&self, topic: TopicId, partition: PartitionId) -> Vec<PartitionEntry> {
        let ring = self.partitions.get(&topic).and_then(|rings| rings.get(&partition));
        let packed = ring.map(Ring::entries).unwrap_or_default();
        let mut leaderless = packed.first().and_then(|first| {
            let since = Timestamp(first.at_ms);
            (first.leader < 0 && first.at_ms > 0).then_some(since)
        });
        let mut entries = Vec::new();
        for pair in packed.windows(2) {
            let (before, after) = (unpack(&pair[0]), unpack(&pair[1]));
            let reason = self.reason(&pair[1]);
            let lost = reason.last_contact.filter(|_| reason.broker == before.leader);
            if before.leader.is_some() && before.leader != after.leader {
                leaderless = lost.or(after.leader.is_none().then_some(reason.at));
            }
            let since = leaderless.take_if(|_| after.leader.is_some());
            entries.push(PartitionEntry {
                without_leader_ms: since.map(|since| reason.at.0.saturating_sub(since.0).max(0)),
                reason,
                before,
                after,
                possible_loss: pair[1].possible_loss,
            });
        }
        entries
    }

    fn reason(&self, entry: &Packed) -> Reason {
        let lost_for = entry.lost_for_ms.and_then(|lost_for| i64::try_from(lost_for).ok());
        Reason {
            at: Timestamp(entry.at_ms),
            cause: entry.cause(),
            broker: entry.broker.map(NodeId),
            last_contact: lost_for.map(|lost_for| Timestamp(entry.at_ms.saturating_sub(lost_for))),
            evidence: self.texts.get(entry.text).to_owned(),
        }
    }
}

/// How a partition stands, without a reason.
fn pack(state: &PartitionState) -> Packed {
    let leadership = state.to_leadership();
    Packed {
        leader: leadership.leader,
        leader_epoch: leadership.leader_epoch,
        isr: leadership.isr,
        elr: leadership.elr,
        last_known_elr: leadership.last_known_elr.iter().map(|known| known.broker).collect(),
        ..Packed::default()
    }
}

fn unpack(entry: &Packed) -> Leadership {
    Leadership {
        leader: (entry.leader >= 0).then_some(NodeId(entry.leader)),
        leader_epoch: LeaderEpoch(entry.leader_epoch),
        isr: klamm_schema::node_ids(&entry.isr),
        elr: klamm_schema::node_ids(&entry.elr),
        last_known_elr: klamm_schema::node_ids(&entry.last_known_elr),
    }
}

/// The packed entries of one partition, in two halves: an append writes only the newer one anew. When that is full it
/// becomes the older one, and what was the older one goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// None or [`HALF`] entries.
    older: Arc<[u8]>,
    /// One to [`HALF`] entries.
    newer: Arc<[u8]>,
}

impl Ring {
    fn new(before: &Packed) -> Ring {
        Ring {
            older: Arc::default(),
            newer: append(&[], before),
        }
    }

    /// With one more entry, and those that had to go for it.
    fn with(&self, entry: &Packed) -> (Ring, Vec<Packed>) {
        if frames(&self.newer).count() < HALF {
            let older = Arc::clone(&self.older);
            let newer = append(&self.newer, entry);
            return (Ring { older, newer }, Vec::new());
        }
        let ring = Ring {
            older: Arc::clone(&self.newer),
            newer: append(&[], entry),
        };
        (ring, decode(&self.older).collect())
    }

    pub fn entries(&self) -> Vec<Packed> {
        decode(&self.older).chain(decode(&self.newer)).collect()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        [&*self.older, &*self.newer].concat()
    }

    pub fn size(&self) -> usize {
        self.older.len() + self.newer.len()
    }

    /// `None` if the bytes are not entries to the last one, too few or too many.
    pub fn from_bytes(bytes: &[u8]) -> Option<Ring> {
        let lengths: Vec<usize> = frames(bytes).map(<[u8]>::len).collect();
        let whole = lengths.iter().sum::<usize>() == bytes.len() && decode(bytes).count() == lengths.len();
        if !whole || !(2..=PARTITION_ENTRIES_MAX + 1).contains(&lengths.len()) {
            return None;
        }
        let in_older = if lengths.len() > HALF { HALF } else { 0 };
        let (older, newer) = bytes.split_at(lengths[..in_older].iter().sum());
        Some(Ring {
            older: Arc::from(older),
            newer: Arc::from(newer),
        })
    }
}

fn append(bytes: &[u8], entry: &Packed) -> Arc<[u8]> {
    let mut longer = Vec::with_capacity(bytes.len() + entry.encoded_len() + 2);
    longer.extend_from_slice(bytes);
    longer.extend_from_slice(&entry.encode_length_delimited_to_vec());
    Arc::from(longer)
}

fn decode(bytes: &[u8]) -> impl Iterator<Item = Packed> {
    frames(bytes).filter_map(|frame| Packed::decode_length_delimited(frame).ok())
}

/// The entries, each with its length before it, as far as they are whole.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = prost::decode_length_delimiter(bytes).ok()?;
        let whole = length.checked_add(prost::length_delimiter_len(length))?;
        let (frame, rest) = bytes.split_at_checked(whole)?;
        bytes = rest;
        Some(frame)
    })
}
