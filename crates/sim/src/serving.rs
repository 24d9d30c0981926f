//! How a broker serves clients: produce, fetch and the latest offset, each held against what must be.

use std::time::Duration;

use klamm_record::Batch;
use klamm_replication::{Acks, Event, Isolation, Origin, Produce, ReadFrom, Role};
use klamm_types::{ErrorCode, LeaderEpoch, Offset};

use crate::broker::{Asked, Process};
use crate::plan::MS;
use crate::process::{ReadProblem, read_batches};
use crate::world::{Happening, World};

/// A reader's request.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    pub reader: usize,
    pub attempt: u64,
    pub offset: Offset,
    pub isolation: Isolation,
}

impl World {
    pub fn produce(
        &mut self,
        index: usize,
        process: &mut Process,
        (client, attempt): (usize, u64),
        batch: Batch,
        acks: Acks,
    ) {
        let request = process.new_request(Asked::Produce { client, attempt });
        let timeout = Duration::from_micros(self.chance.between(20 * MS, 80 * MS));
        let produce = Produce {
            request,
            batch,
            acks,
            timeout,
            origin: Origin::Client,
            disk_full: false,
        };
        self.feed(index, process, Event::Produce(Box::new(produce)));
    }

    pub fn fetch(&mut self, index: usize, process: &mut Process, fetch: Fetch) {
        // One reader reads from leaders, the other from anybody.
        let from = match fetch.reader {
            0 => ReadFrom::Leader,
            _ => ReadFrom::AnyReplica,
        };
        if process.replica.check_read(LeaderEpoch::NONE, from).is_err() {
            return self.fetched(fetch, None);
        }
        if process.replica.check_fetch_offset(fetch.offset).is_err() {
            return self.fetch_out_of_range(process, fetch);
        }
        let bound = process.replica.fetch_bound(fetch.isolation);
        if fetch.offset < bound {
            return self.fetch_now(index, process, fetch, bound);
        }
        let request = process.new_request(Asked::Fetch(fetch));
        let park = Event::ParkFetch {
            request,
            beyond: fetch.offset,
            isolation: fetch.isolation,
        };
        self.feed(index, process, park);
    }

    fn fetch_out_of_range(&mut self, process: &Process, fetch: Fetch) {
        let replica = &process.replica;
        let start = Offset::from(replica.log_start());
        if fetch.offset < start {
            return self.fetched(fetch, Some(start));
        }
        let newest = self
            .controller
            .image()
            .partition(self.controller.topic(), crate::controller::PARTITION);
        let newest = newest.map(|state| state.leader_epoch);
        let Role::Leader { leader_epoch } = replica.role() else {
            return self.fetched(fetch, None);
        };
        if Some(leader_epoch) != newest {
            return self.fetched(fetch, None);
        }
        if self.has_lost_by_permission() {
            let end = replica.high_watermark().into();
            return self.fetched(fetch, Some(end));
        }
        self.hold(Err(format!(
            "the leader tells a reader that offset {} is out of range",
            fetch.offset
        )));
    }

    fn fetch_now(&mut self, index: usize, process: &mut Process, fetch: Fetch, bound: Offset) {
        let offset = fetch.offset;
        match read_batches(process, offset, 2_000, bound) {
            Ok(batches) => {
                if !self.has_lost_by_permission() {
                    for batch in &batches {
                        let read = self.checker.read(batch);
                        self.hold(read);
                    }
                }
                let next = batches.last().map_or(offset, Batch::next_offset);
                self.fetched(fetch, Some(next));
            }
            Err(ReadProblem::Damaged(from)) if self.brokers[index].bits_flipped => {
                process.log.mark_damaged();
                self.fetched(fetch, None);
                self.feed(index, process, Event::DamageFound { from });
            }
            Err(ReadProblem::Damaged(from)) => {
                self.hold(Err(format!(
                    "a reader at {offset} meets damage at {from}, though no bit was flipped"
                )));
            }
            Err(ReadProblem::Failed(problem)) => {
                self.hold(Err(format!("a reader cannot read at {offset}: {problem}")));
            }
        }
    }

    fn fetched(&mut self, fetch: Fetch, next: Option<Offset>) {
        let delay = self.chance.delay(200, 10 * MS);
        let (reader, attempt) = (fetch.reader, fetch.attempt);
        self.after(delay, Happening::Fetched { reader, attempt, next });
    }

    pub fn latest(&mut self, process: &Process) {
        let replica = &process.replica;
        if !self.has_lost_by_permission()
            && replica.check_read(LeaderEpoch::NONE, ReadFrom::Leader).is_ok()
            && let Ok(latest) = replica.latest_offset_answer(Isolation::ReadUncommitted)
        {
            let told = self.checker.told_latest(latest.leader_epoch, latest.offset);
            self.hold(told);
        }
    }

    /// A replica answers a produce request.
    pub fn produce_answered(&mut self, (client, attempt): (usize, u64), result: Result<Offset, ErrorCode>) {
        let delay = self.chance.delay(200, 10 * MS);
        let answer = Happening::Produced {
            client,
            attempt,
            result,
        };
        self.after(delay, answer);
    }
}
