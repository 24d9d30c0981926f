//! Everything that is known of a run while it goes on, in bounded memory: the judge, and the figures beside it.

use std::time::Duration;

use crate::anomaly::Reader;
use crate::history::Outcome;
use crate::judge::{Event, Judge};
use crate::latency::{Latencies, LatencySummary};
use crate::outage::Outages;
use crate::timeline::Timeline;

/// Takes every event of a run. Times count from its start.
#[derive(Clone, Debug)]
pub struct Monitor {
    pub judge: Judge,
    pub timeline: Timeline,
    pub outages: Outages,
    pub latencies: Latencies,
}

/// How it stands, for the display.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    pub sent: u64,
    pub acknowledged: u64,
    /// By the readers of partitions.
    pub read: u64,
    pub read_by_group: u64,
    pub latency_ms: Option<LatencySummary>,
    pub longest_gap: Duration,
    /// Found so far, and what looks lost so far.
    pub anomalies: u64,
    pub unchecked: u64,
    pub retained: usize,
}

impl Monitor {
    pub fn new(judge: Judge, outages: Outages) -> Monitor {
        Monitor {
            judge,
            outages,
            timeline: Timeline::default(),
            latencies: Latencies::default(),
        }
    }

    pub fn step(&mut self, at: Duration, partition: i32, event: Event) {
        match event {
            Event::Sent { .. } => {
                self.timeline.at(at).sent += 1;
                self.outages.sent(partition, at);
            }
            Event::Withdrawn { .. } => {
                let bucket = self.timeline.at(at);
                bucket.sent = bucket.sent.saturating_sub(1);
            }
            Event::Settled {
                outcome: Outcome::Acknowledged { at, .. },
                ..
            } => {
                self.timeline.at(at).acknowledged += 1;
                self.outages.acknowledged(partition, at);
            }
            Event::Read { reader, .. } => match reader {
                Reader::Partition(_) => self.timeline.at(at).read += 1,
                Reader::Member(_) => self.timeline.at(at).read_by_group += 1,
            },
            Event::Settled { .. }
            | Event::Cut { .. }
            | Event::Assigned { .. }
            | Event::Revoked { .. }
            | Event::Committed { .. } => {}
        }
        self.judge.step(partition, event);
    }

    pub fn snapshot(&self, now: Duration) -> Snapshot {
        let totals = self.judge.totals();
        Snapshot {
            sent: totals.sent,
            acknowledged: totals.acknowledged,
            read: totals.read,
            read_by_group: totals.read_by_group,
            latency_ms: self.latencies.summary(),
            longest_gap: self.outages.longest(now),
            anomalies: self.judge.findings().total() + self.judge.overdue(),
            unchecked: totals.unchecked,
            retained: self.judge.retained(),
        }
    }
}
