//! Offsets that were committed in transactions which have not ended: nobody sees them, but whoever needs a stable
//! answer must wait for them.
//!
//! Nothing writes them before there are transactions; readers ask already.

use std::collections::BTreeMap;

use klamm_types::ProducerId;

use crate::record::Committed;

/// Of one transaction, by group, topic and partition.
type Written = BTreeMap<(String, String, i32), Committed>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    transactions: BTreeMap<ProducerId, Written>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    Committed,
    Aborted,
}

impl Pending {
    /// Replay of a record within a transaction; the last one of a partition counts.
    pub fn write(&mut self, producer: ProducerId, key: (String, String, i32), committed: Committed) {
        self.transactions.entry(producer).or_default().insert(key, committed);
    }

    /// Replay of a transaction's marker: what it makes visible.
    pub fn end(&mut self, producer: ProducerId, end: TransactionEnd) -> Vec<((String, String, i32), Committed)> {
        let written = self.transactions.remove(&producer).unwrap_or_default();
        match end {
            TransactionEnd::Committed => written.into_iter().collect(),
            TransactionEnd::Aborted => Vec::new(),
        }
    }

    /// The offset was deleted.
    pub fn forget(&mut self, group: &str, topic: &str, partition: i32) {
        if self.transactions.is_empty() {
            return;
        }
        let key = (group.to_owned(), topic.to_owned(), partition);
        self.transactions.retain(|_, written| {
            written.remove(&key);
            !written.is_empty()
        });
    }

    /// Whether a transaction may change the offset yet.
    pub fn contains(&self, group: &str, topic: &str, partition: i32) -> bool {
        if self.transactions.is_empty() {
            return false;
        }
        let key = (group.to_owned(), topic.to_owned(), partition);
        self.transactions.values().any(|written| written.contains_key(&key))
    }

    pub fn has_group(&self, group: &str) -> bool {
        let mut keys = self.transactions.values().flat_map(BTreeMap::keys);
        keys.any(|(of, _, _)| of == group)
    }

    /// What transactions have written for a group, by topic and partition.
    pub fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a str, i32)> {
        let keys = self.transactions.values().flat_map(BTreeMap::keys);
        keys.filter(move |(of, _, _)| of == group)
            .map(|(_, topic, partition)| (topic.as_str(), *partition))
    }
}
