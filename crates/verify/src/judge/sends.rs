//! One producer's sends to one partition: which of them are not settled yet.
//!
//! A send is settled when its outcome is known and its value's offset has left the window. A number below `next` that
//! is not kept was settled, or had to be forgotten (below `unchecked_below`).

use std::collections::BTreeMap;

/// What is known of a send's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    UnderWay,
    /// -1 where the cluster does not tell the offset.
    Acknowledged(i64),
    /// Refused or aborted: it must not be read.
    Refused,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    /// Where its value was read first.
    place: Option<i64>,
    /// That place has left the window.
    passed: bool,
}

impl Entry {
    fn is_settled(&self) -> bool {
        self.passed && self.state != State::UnderWay
    }

    /// The offset that was acknowledged if the value was found elsewhere.
    fn misplaced(&self) -> Option<(i64, i64)> {
        match (self.state, self.place) {
            (State::Acknowledged(offset), Some(place)) if offset >= 0 && offset != place => Some((offset, place)),
            _ => None,
        }
    }
}

/// What a value says by standing where it stands, or a send by ending as it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Fine,
    Duplicate { first: Option<i64> },
    Refused { place: i64 },
    Misplaced { acknowledged: i64, place: i64 },
    NeverSent,
    Unchecked,
}

/// An acknowledged send whose value was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub number: u64,
    pub offset: i64,
    /// A later value of this producer was read: this one can come no more.
    pub overtaken: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sends {
    next: u64,
    open: BTreeMap<u64, Entry>,
    /// The highest number that has left the window, in the order of the log.
    last: Option<u64>,
    unchecked_below: u64,
}

impl Sends {
    pub fn sent(&mut self, number: u64) {
        let entry = Entry {
            state: State::UnderWay,
            place: None,
            passed: false,
        };
        self.open.insert(number, entry);
        self.next = self.next.max(number + 1);
    }

    pub fn withdrawn(&mut self, number: u64) {
        if self.open.remove(&number).is_some() && self.next == number + 1 {
            self.next = number;
        }
    }

    pub fn settled(&mut self, number: u64, state: State) -> Sign {
        let Some(entry) = self.open.get_mut(&number) else {
            return Sign::Unchecked;
        };
        entry.state = state;
        let sign = match (state, entry.place) {
            (State::Refused, Some(place)) => Sign::Refused { place },
            _ => sign_of(entry),
        };
        if entry.is_settled() {
            self.open.remove(&number);
        }
        sign
    }

    /// The value was found at an offset where nothing was known before.
    pub fn found(&mut self, number: u64, offset: i64) -> Sign {
        let Some(entry) = self.open.get_mut(&number) else {
            return match number {
                _ if number >= self.next => Sign::NeverSent,
                _ if number < self.unchecked_below => Sign::Unchecked,
                _ => Sign::Duplicate { first: None },
            };
        };
        if let Some(first) = entry.place {
            return Sign::Duplicate { first: Some(first) };
        }
        entry.place = Some(offset);
        match entry.state {
            State::Refused => Sign::Refused { place: offset },
            _ => sign_of(entry),
        }
    }

    /// The value was seen where the log holds another one: that is told already, and it is not lost besides.
    pub fn contradicted(&mut self, number: u64, offset: i64) {
        let Some(entry) = self.open.get_mut(&number).filter(|entry| entry.place.is_none()) else {
            return;
        };
        (entry.place, entry.passed) = (Some(offset), true);
        if entry.is_settled() {
            self.open.remove(&number);
        }
    }

    /// The log was cut, and the value stands where it was read no more. Whether the send is still kept.
    pub fn cut(&mut self, number: u64, offset: i64) -> bool {
        let entry = self.open.get_mut(&number).filter(|entry| entry.place == Some(offset));
        let is_kept = entry.is_some();
        if let Some(entry) = entry {
            (entry.place, entry.passed) = (None, false);
        }
        is_kept
    }

    /// The value's offset leaves the window; offsets leave in order. The number of a later send that left before it.
    pub fn passed(&mut self, number: u64, offset: i64) -> Option<u64> {
        let entry = self.open.get_mut(&number)?;
        if entry.place != Some(offset) {
            return None;
        }
        entry.passed = true;
        if entry.is_settled() {
            self.open.remove(&number);
        }
        match self.last {
            Some(last) if last > number => Some(last),
            _ => {
                self.last = Some(number);
                None
            }
        }
    }

    /// How many nobody has told the end of.
    pub fn under_way(&self) -> u64 {
        let under_way = self.open.values().filter(|entry| entry.state == State::UnderWay);
        under_way.count() as u64
    }

    /// Acknowledged and not read, in the order of sending.
    pub fn missing(&self) -> impl Iterator<Item = Missing> {
        self.open.iter().filter_map(|(&number, entry)| match entry.state {
            State::Acknowledged(offset) if entry.place.is_none() => Some(Missing {
                number,
                offset,
                overtaken: self.last.is_some_and(|last| last > number),
            }),
            _ => None,
        })
    }

    /// Forgets the oldest sends, whatever they are; how many there were that could still have turned out bad.
    pub fn forget(&mut self, count: usize) -> u64 {
        let mut unchecked = 0;
        for _ in 0..count {
            let Some((number, entry)) = self.open.pop_first() else {
                break;
            };
            self.unchecked_below = self.unchecked_below.max(number + 1);
            unchecked += u64::from(!entry.passed);
        }
        unchecked
    }

    pub fn retained(&self) -> usize {
        self.open.len()
    }
}

fn sign_of(entry: &Entry) -> Sign {
    match entry.misplaced() {
        Some((acknowledged, place)) => Sign::Misplaced { acknowledged, place },
        None => Sign::Fine,
    }
}
