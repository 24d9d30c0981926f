//! Produce requests that wait for their batch to be written, flushed or committed.
//!
//! They belong to one leader epoch. Whoever ends the epoch fails them all before anything else happens to the log.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::{ErrorCode, LogStartOffset, Moment, Offset};

use crate::effect::{Effect, ProduceError, Produced};
use crate::event::RequestId;

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bar {
    /// acks=0.
    Written,
    /// acks=1: the leader's own offset that the topic's level counts.
    OwnLevel,
    /// acks=all, and every recognised duplicate.
    HighWatermark,
}

/// Passed when the bar's offset reaches `next_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    bar: Bar,
    next_offset: Offset,
    request: RequestId,
}

#[derive(Debug)]
struct Entry {
    /// Only the high watermark is waited for with a time-out: the leader's own disk is judged by its lateness.
    deadline: Option<Moment>,
    produced: Produced,
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    entries: BTreeMap<Key, Entry>,
    deadlines: BTreeSet<(Moment, Key)>,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn insert(&mut self, bar: Bar, request: RequestId, deadline: Moment, produced: Produced) {
        let key = Key {
            bar,
            next_offset: produced.next_offset,
            request,
        };
        let deadline = (bar == Bar::HighWatermark).then_some(deadline);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key));
        }
        self.entries.insert(key, Entry { deadline, produced });
    }

    /// Answers those whose bar has been reached, in the order of their offsets.
    pub fn complete(&mut self, bar: Bar, reached: Offset, effects: &mut Vec<Effect>) {
        loop {
            let from = Key {
                bar,
                next_offset: Offset(i64::MIN),
                request: RequestId(0),
            };
            let first = self.entries.range(from..).next().map(|(&key, _)| key);
            let Some(key) = first.filter(|key| key.bar == bar && key.next_offset <= reached) else {
                return;
            };
            if let Some(entry) = self.remove(key) {
                effects.push(Effect::CompleteProduce {
                    request: key.request,
                    result: Ok(entry.produced),
                });
            }
        }
    }

    /// Answers those whose time is over. Their batches stay in the log.
    pub fn expire(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while let Some(&(deadline, key)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            if let Some(entry) = self.remove(key) {
                effects.push(Effect::CompleteProduce {
                    request: key.request,
                    result: Err(ProduceError {
                        code: ErrorCode::RequestTimedOut,
                        base_offset: entry.produced.base_offset,
                        log_start: entry.produced.log_start,
                    }),
                });
            }
        }
    }

    pub fn fail_all(&mut self, code: ErrorCode, effects: &mut Vec<Effect>) {
        self.deadlines.clear();
        for key in std::mem::take(&mut self.entries).into_keys() {
            effects.push(Effect::CompleteProduce {
                request: key.request,
                result: Err(ProduceError {
                    code,
                    base_offset: Offset::NONE,
                    log_start: LogStartOffset(-1),
                }),
            });
        }
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        Some(entry)
    }
}
