//! How a broker serves clients: produce, fetch and the latest offset, each held against what must be.

use std::time::Duration;

use klamm_invariants::{Broken, Invariant, core_orderings, no_false_alarm};
use klamm_record::Batch;
use klamm_replication::{Event, Isolation, Origin, Produce, ReadFrom, Role};
use klamm_types::{ErrorCode, LeaderEpoch, Offset};

use super::disks::{ReadProblem, read_batches};
use super::hosted::{Asked, Here};
use crate::plan::MS;
use crate::world::{Happening, ProduceAsked, World};

/// A reader's request.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    pub reader: usize,
    pub attempt: u64,
    pub offset: Offset,
    pub from: ReadFrom,
}

impl World {
    pub fn produce(&mut self, here: &mut Here<'_>, asked: ProduceAsked) {
        let ProduceAsked {
            client,
            attempt,
            batch,
            acks,
        } = asked;
        let request = here.own.new_request(Asked::Produce { client, attempt });
        let timeout = Duration::from_micros(self.chance.between(20 * MS, 80 * MS));
        let produce = Produce {
            request,
            batch,
            acks,
            timeout,
            origin: Origin::Client,
            disk_full: self.brokers[here.broker].is_full,
        };
        self.feed(here, Event::Produce(Box::new(produce)));
    }

    pub fn fetch(&mut self, here: &mut Here<'_>, fetch: Fetch) {
        if here.own.replica.check_read(LeaderEpoch::NONE, fetch.from).is_err() {
            return self.fetched(fetch, None);
        }
        if here.own.replica.check_fetch_offset(fetch.offset).is_err() {
            return self.fetch_out_of_range(here, fetch);
        }
        let bound = here.own.replica.fetch_bound(Isolation::ReadUncommitted);
        if fetch.offset < bound {
            return self.fetch_now(here, fetch, bound);
        }
        let request = here.own.new_request(Asked::Fetch(fetch));
        let park = Event::ParkFetch {
            request,
            beyond: fetch.offset,
            isolation: Isolation::ReadUncommitted,
        };
        self.feed(here, park);
    }

    fn fetch_out_of_range(&mut self, here: &Here<'_>, fetch: Fetch) {
        let replica = &here.own.replica;
        let start = Offset::from(replica.log_start());
        if fetch.offset < start {
            return self.fetched(fetch, Some(start));
        }
        let newest = self.controller.state(here.partition).map(|state| state.leader_epoch);
        let Role::Leader { leader_epoch } = replica.role() else {
            return self.fetched(fetch, None);
        };
        if Some(leader_epoch) != newest {
            return self.fetched(fetch, None);
        }
        if self.has_lost_by_permission(here.partition) {
            let end = replica.high_watermark().into();
            return self.fetched(fetch, Some(end));
        }
        self.hold(Err(Broken {
            invariant: Invariant::ReadConsistency,
            what: format!("the leader tells a reader that offset {} is out of range", fetch.offset),
        }));
    }

    fn fetch_now(&mut self, here: &mut Here<'_>, fetch: Fetch, bound: Offset) {
        let offset = fetch.offset;
        let Some(batches) = self.read_for_client(here, offset, bound) else {
            return self.fetched(fetch, None);
        };
        let next = batches.last().map_or(offset, Batch::next_offset);
        self.fetched(fetch, Some(next));
    }

    /// Reads what a client asked for, and holds it against what is committed. `None` if damage was found.
    pub fn read_for_client(&mut self, here: &mut Here<'_>, offset: Offset, bound: Offset) -> Option<Vec<Batch>> {
        match read_batches(&here.own.log, offset, 2_000, bound) {
            Ok(batches) => {
                if !self.has_lost_by_permission(here.partition) {
                    for batch in &batches {
                        let read = self.ledgers[here.partition].read(batch);
                        self.hold(read);
                    }
                }
                return Some(batches);
            }
            Err(ReadProblem::Damaged(from)) if self.files(here.place()).bits_flipped => {
                self.feed(here, Event::DamageFound { from });
            }
            Err(ReadProblem::Damaged(from)) => {
                let what = format!("a reader at {offset} meets damage at {from}, though no bit was flipped");
                self.hold(Err(no_false_alarm(what)));
            }
            Err(ReadProblem::Failed(problem)) => {
                let what = format!("a reader cannot read at {offset}: {problem}");
                self.hold(Err(core_orderings(what)));
            }
        }
        None
    }

    fn fetched(&mut self, fetch: Fetch, next: Option<Offset>) {
        let delay = self.chance.delay(200, 10 * MS);
        let (reader, attempt) = (fetch.reader, fetch.attempt);
        self.after(delay, Happening::Fetched { reader, attempt, next });
    }

    pub fn latest(&mut self, here: &Here<'_>) {
        let replica = &here.own.replica;
        if !self.has_lost_by_permission(here.partition)
            && replica.check_read(LeaderEpoch::NONE, ReadFrom::Leader).is_ok()
            && let Ok(latest) = replica.latest_offset_answer(Isolation::ReadUncommitted)
        {
            let told = self.ledgers[here.partition]
                .marks
                .told(latest.leader_epoch, latest.offset);
            self.hold(told);
        }
    }

    /// A replica answers a produce request.
    pub fn produce_answered(&mut self, (client, attempt): (usize, u64), result: Result<Offset, ErrorCode>) {
        if self.is_lost_now() {
            return;
        }
        let delay = self.chance.delay(200, 10 * MS);
        let answer = Happening::Produced {
            client,
            attempt,
            result,
        };
        self.after(delay, answer);
    }
}
