//! One partition before the judge: the window of its log, its producers, and those who read it.

use std::collections::BTreeMap;

use super::group::Group;
use super::sends::{Sends, Sign, State};
use super::{Audiences, Ending, Event, Limits, Totals};
use crate::anomaly::{Anomaly, Audience, Findings, Reader};
use crate::history::Outcome;
use crate::value::{Value, show};

/// Offsets that a reader passed over and of which nobody has told yet whether they exist.
#[derive(Clone, Copy, Debug)]
struct Skip {
    reader: Reader,
    from: i64,
    to: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Partition {
    number: i32,
    limits: Limits,
    /// The window: what stands at each offset, as those who read it first saw it.
    log: BTreeMap<i64, Option<Value>>,
    /// Offsets below have left the window.
    base: i64,
    /// The first offset above all that was read.
    end: i64,
    producers: BTreeMap<u32, Sends>,
    /// The offset that each reader should get next; `None` before its first record if that may be anywhere.
    readers: BTreeMap<u32, Option<i64>>,
    group: Option<Group>,
    skips: Vec<Skip>,
}

impl Partition {
    pub fn new(number: i32, audiences: Audiences, limits: Limits) -> Partition {
        Partition {
            number,
            limits,
            log: BTreeMap::new(),
            base: i64::MIN,
            end: 0,
            producers: BTreeMap::new(),
            readers: audiences.readers,
            group: audiences.group.map(Group::new),
            skips: Vec::new(),
        }
    }

    pub fn step(&mut self, event: Event, findings: &mut Findings, totals: &mut Totals) {
        match event {
            Event::Sent { value } => {
                totals.sent += 1;
                self.producers.entry(value.producer).or_default().sent(value.number);
            }
            Event::Withdrawn { value } => {
                totals.sent -= 1;
                self.producers
                    .entry(value.producer)
                    .or_default()
                    .withdrawn(value.number);
            }
            Event::Settled { value, outcome } => self.settled(value, outcome, findings, totals),
            Event::Read { reader, offset, value } => {
                self.found(reader, offset, value, findings, totals);
                self.advanced(reader, offset, findings, totals);
                self.fold(findings);
            }
            Event::Cut { offset } => self.cut(offset, totals),
            Event::Assigned { member } => self.of_group(|group| group.assigned(member)),
            Event::Revoked { member } => self.of_group(|group| group.revoked(member)),
            Event::Committed { offset } => {
                self.of_group(|group| group.committed(offset));
                self.fold(findings);
            }
        }
        if self.retained() > self.limits.retained_max {
            self.shed(findings, totals);
        }
    }

    fn of_group(&mut self, change: impl FnOnce(&mut Group)) {
        if let Some(group) = &mut self.group {
            change(group);
        }
    }

    pub fn retained(&self) -> usize {
        let sends: usize = self.producers.values().map(Sends::retained).sum();
        self.log.len() + self.skips.len() + sends
    }

    fn settled(&mut self, value: Value, outcome: Outcome, findings: &mut Findings, totals: &mut Totals) {
        let (state, counter) = match outcome {
            Outcome::Acknowledged { offset, .. } => (State::Acknowledged(offset), &mut totals.acknowledged),
            Outcome::Failed | Outcome::Aborted => (State::Refused, &mut totals.refused),
            Outcome::Unknown => (State::Unknown, &mut totals.unknown),
        };
        *counter += 1;
        let sends = self.producers.entry(value.producer).or_default();
        let sign = sends.settled(value.number, state);
        // A send that had to be forgotten was counted then.
        if sign != Sign::Unchecked {
            self.note(sign, value, 0, findings, totals);
        }
    }

    /// What a sign means for the value, which stands at `offset`.
    fn note(&self, sign: Sign, value: Value, offset: i64, findings: &mut Findings, totals: &mut Totals) {
        let partition = self.number;
        let anomaly = match sign {
            Sign::Fine => return,
            Sign::Unchecked => {
                totals.unchecked += 1;
                return;
            }
            Sign::Duplicate { first } => Anomaly::Duplicate {
                partition,
                value: value.to_string(),
                offsets: (first, offset),
            },
            Sign::Refused { place } => Anomaly::G1a {
                partition,
                value: value.to_string(),
                offset: place,
            },
            Sign::Misplaced { acknowledged, place } => Anomaly::InconsistentOffsets {
                partition,
                offset: acknowledged,
                expected: format!("{value} at {acknowledged}"),
                found: format!("{value} at {place}"),
            },
            Sign::NeverSent => Anomaly::InconsistentOffsets {
                partition,
                offset,
                expected: "a value that was sent".to_owned(),
                found: value.to_string(),
            },
        };
        findings.note(anomaly);
    }

    /// Somebody saw this value at this offset.
    fn found(
        &mut self,
        reader: Reader,
        offset: i64,
        value: Option<Value>,
        findings: &mut Findings,
        totals: &mut Totals,
    ) {
        let partition = self.number;
        if offset < self.base {
            totals.unchecked += 1;
            return;
        }
        if let Some(&known) = self.log.get(&offset) {
            if known != value {
                self.contradicted(offset, known, value, findings);
            }
            return;
        }
        self.log.insert(offset, value);
        self.end = self.end.max(offset + 1);
        totals.read += 1;
        let passed_over = |skip: &Skip| skip.reader != reader && (skip.from..skip.to).contains(&offset);
        if let Some(index) = self.skips.iter().position(passed_over) {
            let reader = self.skips.swap_remove(index).reader;
            findings.note(Anomaly::PollSkip {
                partition,
                reader,
                offset,
            });
        }
        let Some(value) = value else { return };
        if let Some(sends) = self.producers.get_mut(&value.producer) {
            let sign = sends.found(value.number, offset);
            self.note(sign, value, offset, findings, totals);
        }
    }

    /// Somebody sees another value at an offset than others did before.
    fn contradicted(&mut self, offset: i64, known: Option<Value>, value: Option<Value>, findings: &mut Findings) {
        findings.note(Anomaly::InconsistentOffsets {
            partition: self.number,
            offset,
            expected: show(known),
            found: show(value),
        });
        if let Some(value) = value
            && let Some(sends) = self.producers.get_mut(&value.producer)
        {
            sends.contradicted(value.number, offset);
        }
    }

    /// The log ends at this offset from now on. What has left the window can be judged no more.
    fn cut(&mut self, offset: i64, totals: &mut Totals) {
        for (offset, value) in self.log.split_off(&offset) {
            let sends = value.and_then(|value| Some((value.number, self.producers.get_mut(&value.producer)?)));
            let is_kept = sends.is_some_and(|(number, sends)| sends.cut(number, offset));
            totals.unchecked += u64::from(value.is_some() && !is_kept);
        }
        totals.unchecked += u64::try_from(self.base.min(self.end) - offset).unwrap_or(0);
        (self.base, self.end) = (self.base.min(offset), self.end.min(offset));
        for next in self.readers.values_mut().flatten() {
            *next = offset.min(*next);
        }
        self.skips.retain(|skip| skip.to <= offset);
        self.of_group(|group| group.cut(offset));
    }

    /// A reader moved on to this offset.
    fn advanced(&mut self, reader: Reader, offset: i64, findings: &mut Findings, totals: &mut Totals) {
        let partition = self.number;
        let (back_from, skipped_from) = match reader {
            Reader::Partition(number) => {
                let next = self.readers.entry(number).or_default().replace(offset + 1);
                let back = next.filter(|next| offset < *next).map(|next| next - 1);
                (back, next.filter(|next| offset > *next))
            }
            Reader::Member(member) => {
                let Some(group) = &mut self.group else { return };
                let step = group.read(member, offset);
                totals.read_by_group += 1;
                totals.redelivered += u64::from(step.redelivered);
                (step.back_from, step.skipped_from)
            }
        };
        if let Some(from) = back_from {
            findings.note(Anomaly::NonmonotonicPoll {
                partition,
                reader,
                from,
                to: offset,
            });
        }
        let Some(from) = skipped_from else { return };
        match self.log.range(from..offset).next() {
            Some((&offset, _)) => findings.note(Anomaly::PollSkip {
                partition,
                reader,
                offset,
            }),
            None => self.skips.push(Skip {
                reader,
                from,
                to: offset,
            }),
        }
    }

    /// Lets everything leave that all readers, and the group's commit, have passed.
    fn fold(&mut self, findings: &mut Findings) {
        let readers = self.readers.values().map(|next| next.unwrap_or(i64::MIN));
        let group = self.group.as_ref().map(|group| group.committed);
        let slowest = readers.chain(group).min().unwrap_or(i64::MIN);
        self.fold_below(slowest.saturating_sub(self.limits.window), findings);
    }

    fn fold_below(&mut self, base: i64, findings: &mut Findings) {
        if base <= self.base {
            return;
        }
        self.base = base;
        while let Some(first) = self.log.first_entry().filter(|first| *first.key() < base) {
            let (offset, value) = first.remove_entry();
            self.passed(offset, value, findings);
        }
        self.skips.retain(|skip| skip.to > base);
    }

    /// An offset leaves the window: the order of sends is judged in the order of the log.
    fn passed(&mut self, offset: i64, value: Option<Value>, findings: &mut Findings) {
        let Some(value) = value else { return };
        let Some(sends) = self.producers.get_mut(&value.producer) else {
            return;
        };
        if let Some(later) = sends.passed(value.number, offset) {
            let later = Value { number: later, ..value };
            findings.note(Anomaly::NonmonotonicSend {
                partition: self.number,
                earlier: value.to_string(),
                later: later.to_string(),
            });
        }
    }

    /// More is kept than may be: the oldest half goes, judged or not.
    fn shed(&mut self, findings: &mut Findings, totals: &mut Totals) {
        if let Some(&middle) = self.log.keys().nth(self.log.len() / 2) {
            self.fold_below(middle, findings);
        }
        self.skips.clear();
        while self.retained() > self.limits.retained_max / 2 {
            let Some(most) = self.producers.values_mut().max_by_key(|sends| sends.retained()) else {
                return;
            };
            let count = most.retained() / 2 + 1;
            totals.unchecked += most.forget(count);
            if most.retained() == 0 {
                return;
            }
        }
    }

    /// Sends whose offset everybody has passed without finding their value.
    pub fn overdue(&self) -> u64 {
        let missing = self.producers.values().flat_map(Sends::missing);
        missing
            .filter(|missing| (0..self.base).contains(&missing.offset))
            .count() as u64
    }

    pub fn finish(&mut self, ending: Ending, findings: &mut Findings, totals: &mut Totals) {
        let mut unseen = self.unseen_by_group();
        self.fold_below(i64::MAX, findings);
        let (partition, end) = (self.number, self.end);
        for (&producer, sends) in &self.producers {
            totals.unknown += sends.under_way();
            for missing in sends.missing() {
                let (number, offset) = (missing.number, missing.offset);
                let value = Value { producer, number }.to_string();
                let passed = if offset >= 0 { offset < end } else { missing.overtaken };
                if passed {
                    findings.note(Anomaly::LostWrite {
                        partition,
                        value,
                        offset,
                    });
                } else {
                    let by = Audience::Anyone;
                    unseen.push(Anomaly::Unseen {
                        partition,
                        value,
                        offset,
                        by,
                    });
                }
            }
        }
        match ending {
            Ending::Read => unseen.into_iter().for_each(|anomaly| findings.note(anomaly)),
            Ending::CutShort => totals.unchecked += unseen.len() as u64,
        }
    }

    /// What others have read and the group has not come to.
    fn unseen_by_group(&self) -> Vec<Anomaly> {
        let Some(group) = &self.group else { return Vec::new() };
        let unseen = |offset, value| Anomaly::Unseen {
            partition: self.number,
            value,
            offset,
            by: Audience::Group,
        };
        // Further ones may have been forgotten; there is one more at least.
        let forgotten = group.frontier < self.base.min(self.end);
        let forgotten = forgotten.then(|| unseen(group.frontier, "what was there".to_owned()));
        let kept = self
            .log
            .range(group.frontier..)
            .map(|(&offset, value)| unseen(offset, show(*value)));
        forgotten.into_iter().chain(kept).collect()
    }
}
