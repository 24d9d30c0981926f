//! The core against simulated brokers that lose connections, change leaders, stop, refuse and forget.
//!
//! A run is decided by its seed alone. Whatever happens, at the end: each batch was completed exactly once, what was
//! acknowledged is in the log once and where the answer said, in order; what was said to be without effect is not
//! there; nothing is there twice. A failure prints the seed; set `KLAMM_SEED` to replay it.

mod brokers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_record::{Compression, CompressionLevel};
use klamm_types::{LeaderEpoch, Moment, NodeId, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::metadata::{Broker, Partition};
use brokers::{Log, Wire};

const NODES: i32 = 3;
const PARTITIONS: usize = 2;
const STEPS: usize = 1500;

struct Simulation {
    random: StdRng,
    now: Moment,
    core: Core<u32>,
    wires: BTreeMap<NodeId, Wire>,
    logs: Vec<Log>,
    next_ticket: u32,
    next_value: u64,
    next_producer: i64,
    /// What each ticket's batch holds: partition and values.
    sent: BTreeMap<u32, (usize, Vec<u64>)>,
    outcomes: BTreeMap<u32, Result<Written, ProduceError>>,
    pending: Vec<Effect<u32>>,
    faults: bool,
}

fn config(seed: u64) -> CoreConfig {
    CoreConfig {
        acks: Acks::All,
        guarantee: Guarantee::Idempotent,
        compression: Compression::None,
        level: CompressionLevel::Default,
        batch_size: 120,
        linger: Duration::from_millis(seed % 3),
        request_size_max: 1000,
        delivery_timeout: Duration::from_secs(2 + 6 * (seed % 2)),
        retry_backoff: Duration::from_millis(20),
        in_flight_max: 1 + (seed % 5) as usize,
        slow_after: Duration::from_millis(250),
        abandon_after: Duration::from_millis(20),
        seed,
    }
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let log = |index: usize| Log {
            leader: NodeId(index as i32 + 1),
            epoch: 0,
            entries: vec![],
            committed: 0,
        };
        Simulation {
            random: StdRng::seed_from_u64(seed),
            now: Moment(0),
            core: Core::new(config(seed), Arc::new(Cluster::default())),
            wires: (1..=NODES).map(|id| (NodeId(id), Wire::default())).collect(),
            logs: (0..PARTITIONS).map(log).collect(),
            next_ticket: 0,
            next_value: 0,
            next_producer: 100,
            sent: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            pending: Vec::new(),
            faults: true,
        }
    }

    fn cluster(&self) -> Cluster {
        let broker = |id| Broker {
            id: NodeId(id),
            host: "h".to_owned(),
            port: 1,
            rack: None,
        };
        let partition = |(index, log): (usize, &Log)| Partition {
            id: PartitionId(index as i32),
            leader: Some(log.leader),
            leader_epoch: LeaderEpoch(log.epoch),
            replicas: vec![],
            isr: vec![],
            offline_replicas: vec![],
            error: None,
        };
        let topic = Topic {
            name: Arc::from("t"),
            id: TopicId::from_u128(1),
            internal: false,
            error: None,
            partitions: self.logs.iter().enumerate().map(partition).collect(),
        };
        Cluster {
            cluster_id: None,
            controller: None,
            brokers: (1..=NODES).map(|id| (NodeId(id), broker(id))).collect(),
            topics: BTreeMap::from([(topic.name.clone(), Arc::new(topic))]),
        }
    }

    fn tell(&mut self, event: Event) {
        self.core.handle(self.now, event, &mut self.pending);
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.faults && self.random.random_bool(probability)
    }

    fn append(&mut self) {
        let partition = self.random.random_range(0..PARTITIONS);
        self.next_value += 1;
        let value = self.next_value.to_be_bytes();
        let record = NewRecord {
            partition: Some(PartitionId(partition as i32)),
            timestamp: Timestamp(1),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        let topic = Arc::clone(&self.cluster().topics["t"]);
        let next = &mut self.next_ticket;
        let new_ticket = || {
            *next += 1;
            *next
        };
        let appended = self.core.append(self.now, &topic, record, new_ticket).unwrap();
        let batch = self.sent.entry(appended.ticket).or_insert((partition, vec![]));
        assert_eq!(appended.index as usize, batch.1.len());
        batch.1.push(self.next_value);
    }

    /// Polls the core and carries its effects out, until it has none.
    fn settle(&mut self) {
        loop {
            let mut effects = std::mem::take(&mut self.pending);
            self.core.poll(self.now, &mut effects);
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect<u32>) {
        match effect {
            Effect::Dial(node) => {
                if self.chance(0.3) {
                    return self.tell(Event::DialFailed(node));
                }
                self.wires.get_mut(&node).unwrap().open = true;
                self.tell(Event::Connected(node));
            }
            Effect::Send(order) => {
                let wire = self.wires.get_mut(&order.node).unwrap();
                if !wire.open {
                    return self.tell(Event::Lost {
                        id: order.id,
                        sent: false,
                    });
                }
                wire.unanswered.push(order.id);
                wire.to_broker.push_back(order);
            }
            Effect::Disconnect(node) => self.disconnect(node),
            Effect::Refresh => {
                if !self.chance(0.3) {
                    let cluster = Arc::new(self.cluster());
                    self.tell(Event::Cluster(cluster));
                }
            }
            Effect::AskIdentity => {
                if self.chance(0.3) {
                    return self.tell(Event::IdentityFailed);
                }
                self.next_producer += 1;
                let producer_id = ProducerId(self.next_producer);
                self.tell(Event::Identity(Identity {
                    producer_id,
                    producer_epoch: ProducerEpoch(0),
                }));
            }
            Effect::Complete(Completed { ticket, outcome, .. }) => {
                assert!(
                    self.outcomes.insert(ticket, outcome).is_none(),
                    "batch {ticket} was completed twice"
                );
            }
        }
    }

    fn step(&mut self) {
        let node = NodeId(self.random.random_range(1..=NODES));
        match self.random.random_range(0..100) {
            0..12 => self.append(),
            12..42 => self.process(node),
            42..72 => self.reply(node),
            72..85 => self.commit(),
            85 if self.faults => self.change_leader(),
            87 if self.faults => self.disconnect(node),
            89 if self.faults => {
                let wire = self.wires.get_mut(&node).unwrap();
                wire.stopped = !wire.stopped && self.random.random_bool(0.5);
            }
            90 => {
                let cluster = Arc::new(self.cluster());
                self.tell(Event::Cluster(cluster));
            }
            91 if self.faults => self.now = self.now + Duration::from_millis(400),
            _ => self.now = self.now + Duration::from_millis(3),
        }
        self.settle();
    }

    /// Everything is well again; nothing new comes.
    fn finish(&mut self) {
        self.faults = false;
        for wire in self.wires.values_mut() {
            wire.stopped = false;
        }
        self.core.flush();
        for _ in 0..20_000 {
            for id in 1..=NODES {
                self.process(NodeId(id));
                self.reply(NodeId(id));
            }
            self.commit();
            self.now = self.now + Duration::from_millis(3);
            self.settle();
            if self.core.is_idle() {
                break;
            }
        }
        assert!(self.core.is_idle(), "the core never came to rest");
        for id in 1..=NODES {
            while !self.wires[&NodeId(id)].leftovers.is_empty() {
                self.process(NodeId(id));
            }
        }
    }

    fn verify(&self) -> usize {
        assert_eq!(self.outcomes.len(), self.sent.len(), "some batch was never completed");
        for (index, log) in self.logs.iter().enumerate() {
            let values: Vec<u64> = log.entries.iter().flat_map(|entry| entry.values.clone()).collect();
            assert!(values.is_sorted(), "partition {index} is out of order: {values:?}");
            assert!(
                values.windows(2).all(|pair| pair[0] != pair[1]),
                "partition {index} has duplicates: {values:?}"
            );
        }
        let mut acknowledged = 0;
        for (ticket, outcome) in &self.outcomes {
            let (partition, values) = &self.sent[ticket];
            let entry = self.logs[*partition]
                .entries
                .iter()
                .find(|entry| entry.values == *values);
            match outcome {
                Ok(written) => {
                    acknowledged += 1;
                    let entry = entry.unwrap_or_else(|| panic!("acknowledged batch {ticket} is lost: {values:?}"));
                    assert_eq!(written.base_offset.0, entry.base_offset, "batch {ticket}");
                }
                Err(failure) if !failure.may_have_had_effect() => {
                    assert!(
                        entry.is_none(),
                        "batch {ticket} was said not to be written: {failure:?}"
                    );
                }
                Err(_) => {}
            }
        }
        acknowledged
    }
}

fn run(seed: u64) -> (usize, usize) {
    let mut simulation = Simulation::new(seed);
    let cluster = Arc::new(simulation.cluster());
    simulation.tell(Event::Cluster(cluster));
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.finish();
    (simulation.verify(), simulation.outcomes.len())
}

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    let first = match std::env::var("KLAMM_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => rand::random::<u32>().into(),
    };
    let (mut acknowledged, mut all) = (0, 0);
    for seed in first..first + 150 {
        println!("KLAMM_SEED={seed}");
        let (ok, total) = run(seed);
        acknowledged += ok;
        all += total;
    }
    println!("{acknowledged} of {all} batches acknowledged");
    assert!(
        acknowledged * 2 > all,
        "{acknowledged} of {all}: the faults leave too little to prove anything"
    );
}
