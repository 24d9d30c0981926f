//! Producers and readers. How a broker serves them stands in `serving`.
//!
//! A producer sends its batches in order, some of them before the former are answered, and repeats in order whatever
//! was not acknowledged. Requests of an abandoned connection may still arrive.

mod classic;
mod consumer;
mod groups;
mod member;

use std::collections::VecDeque;

use klamm_record::{Batch, BatchBuilder, BatchOptions, ProducerStamp};
use klamm_replication::{Acks, ReadFrom};
use klamm_types::{ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::broker::{Fetch, Place};
pub use groups::{GroupLedger, draw_members};
pub use member::Member;

use crate::chance::Chance;
use crate::plan::{MS, Setup, Time};
use crate::world::{AtProcess, AtReplica, Happening, ProduceAsked, World};

/// A batch that is not acknowledged yet.
#[derive(Debug)]
pub struct Flight {
    batch: Batch,
    attempt: u64,
    /// Counts the producer's batches. None is sent more than `depth` after the oldest that waits: brokers remember
    /// only a few batches per producer.
    number: u64,
}

#[derive(Debug)]
pub struct Producer {
    pub partition: usize,
    idempotent: Option<ProducerId>,
    acks: Acks,
    depth: usize,
    /// The broker and the run of its process that the connection leads to.
    target: (usize, u32),
    sequence: i32,
    made: u64,
    batches: u64,
    pub flights: VecDeque<Flight>,
    /// Nothing sent on this connection arrives any more.
    is_cut: bool,
    /// Arrival of the last request on this connection.
    last_arrival: Time,
    /// Counts connections; a repetition belongs to one.
    round: u64,
    resending: bool,
}

#[derive(Debug)]
pub struct Reader {
    pub partition: usize,
    from: ReadFrom,
    pub position: Offset,
    attempt: u64,
    target: usize,
}

impl Producer {
    pub fn draw(index: usize, setup: &Setup, chance: &mut Chance) -> Producer {
        // The first one is always the safest kind: the others are a mixture.
        let kind = if index == 0 { 0 } else { chance.below(5) };
        let acks = match kind {
            3 => Acks::Leader,
            4 => Acks::None,
            _ => Acks::All,
        };
        let idempotent = (kind < 2).then_some(ProducerId(1000 + index as i64));
        Producer {
            partition: index % setup.partitions,
            idempotent,
            acks,
            depth: if idempotent.is_some() {
                chance.between(1, 4) as usize
            } else {
                1
            },
            target: (chance.below(setup.brokers as u64) as usize, 1),
            sequence: 0,
            made: 0,
            batches: 0,
            flights: VecDeque::new(),
            is_cut: false,
            last_arrival: 0,
            round: 0,
            resending: false,
        }
    }

    /// The first batch that waits for its acknowledgement, of an idempotent producer.
    pub fn oldest_waiting(&self) -> Option<(ProducerId, i32)> {
        let header = *self.flights.front()?.batch.header();
        header
            .has_producer_id()
            .then_some((header.producer_id, header.base_sequence.0))
    }

    fn make(&mut self, now: Timestamp, chance: &mut Chance) -> Option<Batch> {
        let producer = match self.idempotent {
            Some(producer_id) => ProducerStamp {
                producer_id,
                producer_epoch: ProducerEpoch(0),
                base_sequence: Sequence(self.sequence),
            },
            None => ProducerStamp::NONE,
        };
        let mut builder = BatchBuilder::new(BatchOptions {
            producer,
            ..BatchOptions::default()
        });
        let count = chance.between(1, 3);
        for _ in 0..count {
            self.made += 1;
            let mut value = self.made.to_be_bytes().to_vec();
            value.extend_from_slice(&chance.number().to_be_bytes());
            value.resize(16 + chance.below(200) as usize, b'.');
            builder.append(now, None, Some(&value), &[]).ok()?;
        }
        self.sequence += count as i32;
        builder.build().ok()
    }
}

impl Reader {
    /// The first ones read from leaders, one for each partition; the others from anybody.
    pub fn new(index: usize, setup: &Setup) -> Reader {
        Reader {
            partition: index % setup.partitions,
            from: match index < setup.partitions {
                true => ReadFrom::Leader,
                false => ReadFrom::AnyReplica,
            },
            position: Offset(0),
            attempt: 0,
            target: 0,
        }
    }
}

impl World {
    pub fn at_client(&mut self, happening: Happening) {
        match happening {
            Happening::ProduceNext { client } => {
                self.produce_next(client);
                let delay = self.chance.between(MS, 8 * MS);
                self.after(delay, Happening::ProduceNext { client });
            }
            Happening::Resend { client, round } => self.resend(client, round),
            Happening::Produced {
                client,
                attempt,
                result,
            } => self.produced(client, attempt, result),
            Happening::ProduceTimeout { client, attempt } => {
                let waits = |flight: &Flight| flight.attempt == attempt;
                let waiting = self.producers[client].flights.iter().any(waits);
                if waiting {
                    self.repeat(client);
                }
            }
            Happening::FetchNext { reader, .. } | Happening::Fetched { reader, .. } => {
                self.at_reader(reader, happening);
            }
            _ => {}
        }
    }

    fn resend(&mut self, client: usize, round: u64) {
        if self.producers[client].round == round {
            self.producers[client].resending = false;
            for position in 0..self.producers[client].flights.len() {
                self.send_batch(client, position);
            }
        }
    }

    fn at_reader(&mut self, reader: usize, happening: Happening) {
        let current = self.readers[reader].attempt;
        match happening {
            Happening::FetchNext { attempt, .. } if attempt == current => self.fetch_next(reader),
            Happening::Fetched { attempt, next, .. } if attempt == current => {
                match next {
                    Some(next) => self.readers[reader].position = next,
                    None => self.readers[reader].target = self.guess_target(self.readers[reader].partition),
                }
                let delay = self.chance.between(MS, 6 * MS);
                self.after(delay, Happening::FetchNext { reader, attempt });
            }
            _ => {}
        }
    }

    fn produce_next(&mut self, client: usize) {
        let stopping = self.healed_at.is_some_and(|at| self.now > at + 300 * MS);
        let producer = &mut self.producers[client];
        let oldest = producer
            .flights
            .front()
            .map_or(producer.batches, |flight| flight.number);
        let too_many = producer.batches >= oldest + producer.depth as u64;
        if stopping || producer.resending || too_many {
            return;
        }
        let now = Timestamp(1_700_000_000_000 + (self.now / 1000) as i64);
        let Some(batch) = producer.make(now, &mut self.chance) else {
            return;
        };
        producer.flights.push_back(Flight {
            batch,
            attempt: 0,
            number: producer.batches,
        });
        producer.batches += 1;
        let last = producer.flights.len() - 1;
        self.send_batch(client, last);
        if self.producers[client].acks == Acks::None {
            self.producers[client].flights.clear();
            if self.chance.per_mille(50) {
                self.connect(client);
            }
        }
    }

    /// A new connection, perhaps to another broker.
    fn connect(&mut self, client: usize) {
        let target = self.guess_target(self.producers[client].partition);
        let life = self.brokers[target].life;
        let producer = &mut self.producers[client];
        producer.target = (target, life);
        producer.last_arrival = 0;
        producer.is_cut = false;
    }

    fn send_batch(&mut self, client: usize, position: usize) {
        self.attempts += 1;
        let attempt = self.attempts;
        let delay = self.chance.delay(200, 12 * MS);
        let producer = &mut self.producers[client];
        let Some(flight) = producer.flights.get_mut(position) else {
            return;
        };
        flight.attempt = attempt;
        let asked = ProduceAsked {
            client,
            attempt,
            batch: flight.batch.clone(),
            acks: producer.acks,
        };
        let what = AtProcess::Replica(producer.partition, AtReplica::Produce(Box::new(asked)));
        producer.last_arrival = (self.now + delay).max(producer.last_arrival + 1);
        let ((broker, life), at) = (producer.target, producer.last_arrival);
        // Whatever is lost takes everything behind it on the connection with it.
        let lost = self.is_lost_now();
        let producer = &mut self.producers[client];
        producer.is_cut |= lost;
        if !producer.is_cut {
            self.at(at, Happening::Process { broker, life, what });
        }
        let patience = self.chance.between(60 * MS, 120 * MS);
        self.after(patience, Happening::ProduceTimeout { client, attempt });
    }

    fn produced(&mut self, client: usize, attempt: u64, result: Result<Offset, ErrorCode>) {
        let producer = &mut self.producers[client];
        let Some(position) = producer.flights.iter().position(|flight| flight.attempt == attempt) else {
            return;
        };
        match result {
            Ok(base) => {
                let Some(flight) = producer.flights.remove(position) else {
                    return;
                };
                let (partition, acks) = (producer.partition, producer.acks);
                if acks == Acks::All && !self.has_lost_by_permission(partition) {
                    let acknowledged = self.ledgers[partition].acknowledged(base, &flight.batch);
                    self.hold(acknowledged);
                }
            }
            Err(ErrorCode::OutOfOrderSequenceNumber)
                if self.has_lost_by_permission(self.producers[client].partition) =>
            {
                self.begin_anew(client);
            }
            Err(_) => self.repeat(client),
        }
    }

    /// Records that were acknowledged are gone, so that the next sequence fits nothing: the batches that wait are given
    /// up, and another producer goes on.
    fn begin_anew(&mut self, client: usize) {
        let producer = &mut self.producers[client];
        producer.flights.clear();
        producer.sequence = 0;
        producer.idempotent = producer.idempotent.map(|id| ProducerId(id.0 + 1000));
        self.connect(client);
    }

    /// Sends everything again, after a while and perhaps to another broker.
    fn repeat(&mut self, client: usize) {
        if self.producers[client].resending {
            return;
        }
        self.connect(client);
        let producer = &mut self.producers[client];
        producer.resending = true;
        producer.round += 1;
        let round = producer.round;
        let delay = self.chance.between(2 * MS, 20 * MS);
        self.after(delay, Happening::Resend { client, round });
    }

    /// Mostly the leader, as far as the metadata knows.
    pub fn guess_target(&mut self, partition: usize) -> usize {
        match self.leader_index(partition) {
            Some(leader) if !self.chance.per_mille(100) => leader,
            _ => {
                let replicas = self.controller.state(partition).map(|state| state.replicas.clone());
                let replicas = replicas.unwrap_or_default();
                let chosen = self.chance.below(replicas.len() as u64) as usize;
                replicas
                    .get(chosen)
                    .and_then(|&node| self.broker_index(node))
                    .unwrap_or(0)
            }
        }
    }

    fn fetch_next(&mut self, reader: usize) {
        self.attempts += 1;
        let attempt = self.attempts;
        let known = &mut self.readers[reader];
        known.attempt = attempt;
        let what = AtReplica::Fetch(Fetch {
            reader,
            attempt,
            offset: known.position,
            from: known.from,
        });
        let place = Place {
            broker: known.target,
            partition: known.partition,
        };
        let at = self.now + self.chance.delay(200, 12 * MS);
        self.tell_replica(place, at, what);
        if self.chance.per_mille(200) {
            self.tell_replica(place, at, AtReplica::Latest);
        }
        let patience = self.chance.between(30 * MS, 90 * MS);
        self.after(
            patience,
            Happening::Fetched {
                reader,
                attempt,
                next: None,
            },
        );
    }
}
