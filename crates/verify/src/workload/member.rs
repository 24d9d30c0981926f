//! One member of the workload's group: reads its share and commits what it has written down. Now and then it leaves
//! without committing what it read last, as a program that fails does, and comes back: others must get that again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use klamm_client::{
    Assigned, Client, CommittedOffset, Consumer, ConsumerConfig, ConsumerRecord, GroupConfig, OffsetReset,
    RebalanceListener, Revoked, TopicPartition,
};
use klamm_types::Offset;
use tokio::time::{Instant, sleep};

use super::WorkloadError;
use super::run::{Ends, Shared};
use crate::anomaly::Reader;
use crate::judge::Event;
use crate::value::Value;

const POLL: Duration = Duration::from_millis(200);
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries of what fails at once.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the rest may take once nothing is produced any more; longer than a group waits for a member that is gone.
const REST_MAX: Duration = Duration::from_secs(90);

/// How far all members together are, by partition. Clones share it.
#[derive(Clone)]
pub(super) struct Frontier(Arc<Vec<AtomicI64>>);

impl Frontier {
    pub fn new(partitions: i32) -> Frontier {
        Frontier(Arc::new((0..partitions).map(|_| AtomicI64::new(0)).collect()))
    }

    fn reach(&self, partition: i32, next: i64) {
        let index = usize::try_from(partition).ok();
        if let Some(reached) = index.and_then(|index| self.0.get(index)) {
            reached.fetch_max(next, Ordering::Relaxed);
        }
    }

    /// Partitions that have not been read to their ends.
    fn short_of(&self, ends: &[i64]) -> Vec<i32> {
        let reached = self.0.iter().map(|reached| reached.load(Ordering::Relaxed));
        let short = (0..).zip(reached.zip(ends)).filter(|(_, (reached, end))| reached < end);
        short.map(|(partition, _)| partition).collect()
    }
}

pub(super) struct Task {
    pub shared: Shared,
    pub client: Client,
    pub number: u32,
    pub frontier: Frontier,
    pub until: Ends,
}

impl Task {
    pub async fn run(self) -> Result<(), WorkloadError> {
        let leaving = Arc::new(AtomicBool::new(false));
        let mut consumer = self.join(&leaving);
        let mut rejoin_at = self.first_rejoin();
        let (mut committed_at, mut deadline, mut reason) = (Instant::now(), None, String::new());
        loop {
            let ends = self.until.borrow().clone();
            if let Some(ends) = ends {
                let partitions = self.frontier.short_of(&ends);
                if partitions.is_empty() {
                    break;
                }
                if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + REST_MAX) {
                    let waited = REST_MAX;
                    return Err(WorkloadError::UnreadByGroup {
                        partitions,
                        waited,
                        reason,
                    });
                }
            }
            if deadline.is_none() && rejoin_at.is_some_and(|at| Instant::now() >= at) {
                leaving.store(true, Ordering::Relaxed);
                // It left, whatever became of its goodbye.
                let _ = consumer.close().await;
                leaving.store(false, Ordering::Relaxed);
                consumer = self.join(&leaving);
                rejoin_at = self.round().map(|round| Instant::now() + round);
            }
            match consumer.poll(POLL).await {
                Ok(records) => records.iter().for_each(|record| self.note(record)),
                Err(error) => {
                    reason = error.to_string();
                    sleep(PAUSE).await;
                }
            }
            if committed_at.elapsed() >= COMMIT_INTERVAL {
                self.commit(&consumer).await;
                committed_at = Instant::now();
            }
        }
        self.commit(&consumer).await;
        // What a last commit would tell, the one before it has told.
        let _ = consumer.close().await;
        Ok(())
    }

    /// One after another, the members have each left once.
    fn round(&self) -> Option<Duration> {
        let load = &self.shared.load;
        load.rejoin_interval.map(|interval| interval * load.group_members)
    }

    fn first_rejoin(&self) -> Option<Instant> {
        let interval = self.shared.load.rejoin_interval?;
        Some(self.shared.started + interval * (self.number + 1))
    }

    fn join(&self, leaving: &Arc<AtomicBool>) -> Consumer {
        let group = GroupConfig {
            auto_commit_interval: None,
            group_protocol: self.shared.load.group_protocol,
            ..GroupConfig::new(&self.shared.load.topic)
        };
        let mut consumer = self.client.consumer(ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            group: Some(group),
            ..ConsumerConfig::default()
        });
        consumer.on_rebalance(Told {
            shared: self.shared.clone(),
            member: self.number,
            leaving: leaving.clone(),
        });
        // Only a wrong setting is refused here, and these are right; what goes wrong later, `poll` tells.
        let _ = consumer.subscribe([self.shared.load.topic.as_str()]);
        consumer
    }

    fn note(&self, record: &ConsumerRecord) {
        let (partition, offset) = (record.partition.0, record.offset.0);
        let read = Event::Read {
            reader: Reader::Member(self.number),
            offset,
            value: record.value.as_deref().and_then(Value::decode),
        };
        self.shared.note(partition, read);
        self.frontier.reach(partition, offset + 1);
    }

    /// Commits all that was handed out: it is written down. A commit that a rebalance stops is made by the next one, or
    /// by whoever reads the records again.
    async fn commit(&self, consumer: &Consumer) {
        let offset = |(partition, offset): (TopicPartition, Offset)| (partition, CommittedOffset::new(offset));
        let offsets: BTreeMap<_, _> = consumer.positions().into_iter().map(offset).collect();
        if offsets.is_empty() || consumer.commit_offsets(offsets.clone()).await.is_err() {
            return;
        }
        for (partition, committed) in offsets {
            let offset = committed.offset.0;
            self.shared.note(partition.partition.0, Event::Committed { offset });
        }
    }
}

/// Tells the recorder which partitions come and go.
struct Told {
    shared: Shared,
    member: u32,
    leaving: Arc<AtomicBool>,
}

impl RebalanceListener for Told {
    async fn assigned(&mut self, assigned: &mut Assigned) {
        let member = self.member;
        for partition in assigned.partitions() {
            self.shared.note(partition.partition.0, Event::Assigned { member });
        }
    }

    async fn revoked(&mut self, revoked: &mut Revoked) {
        let (partitions, member): (Vec<_>, _) = (revoked.partitions().cloned().collect(), self.member);
        for partition in partitions {
            let position = revoked
                .position(&partition)
                .filter(|_| !self.leaving.load(Ordering::Relaxed));
            if let Some(position) = position {
                revoked.commit(&partition, CommittedOffset::new(position));
            }
            self.shared.note(partition.partition.0, Event::Revoked { member });
        }
    }

    async fn lost(&mut self, partitions: &[TopicPartition]) {
        let member = self.member;
        for partition in partitions {
            self.shared.note(partition.partition.0, Event::Revoked { member });
        }
    }
}
