//! Reading to the end, and in a group committing what was printed: a record that was fetched and not printed is another
//! member's to print.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use klamm_client::{
    CommitError, CommittedOffset, Consumer, ConsumerRecord, RebalanceListener, Revoked, TopicPartition,
};
use klamm_types::Offset;

use super::printer::{Printed, Printer};
use crate::failure::Failure;

/// How often a member of a group commits what it has printed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(500);
/// After so long without partitions a member has nothing to read. Longer than a group waits for a member that died.
const WITHOUT_PARTITIONS_MAX: Duration = Duration::from_secs(60);

type Offsets = BTreeMap<TopicPartition, CommittedOffset>;

/// What was printed of the partitions that this member of a group has, and is not committed yet.
#[derive(Clone, Default)]
struct Progress(Arc<Mutex<Offsets>>);

impl Progress {
    fn offsets(&self) -> MutexGuard<'_, Offsets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, printed: &[&ConsumerRecord]) {
        let mut offsets = self.offsets();
        for record in printed {
            let next = CommittedOffset {
                leader_epoch: record.leader_epoch,
                ..CommittedOffset::new(Offset(record.offset.0 + 1))
            };
            offsets.insert(partition_of(record), next);
        }
    }
}

/// Partitions that go take their progress along: it is committed with them, or it is another's to make again.
impl RebalanceListener for Progress {
    async fn revoked(&mut self, revoked: &mut Revoked) {
        let partitions: Vec<TopicPartition> = revoked.partitions().cloned().collect();
        for partition in partitions {
            let printed = self.offsets().remove(&partition);
            if let Some(offset) = printed {
                revoked.commit(&partition, offset);
            }
        }
    }

    async fn lost(&mut self, partitions: &[TopicPartition]) {
        self.offsets().retain(|partition, _| !partitions.contains(partition));
    }
}

/// A consumer; in a group with its progress.
pub(super) struct Reading {
    consumer: Consumer,
    progress: Option<Progress>,
    committed_at: Instant,
    without_partitions: Option<Without>,
}

/// A member of a group that has no partitions, and looks how far the others are.
struct Without {
    since: Instant,
    looked_at: Option<Instant>,
}

impl Reading {
    pub fn alone(consumer: Consumer) -> Reading {
        Reading {
            consumer,
            progress: None,
            committed_at: Instant::now(),
            without_partitions: None,
        }
    }

    /// Of a consumer that has subscribed, and has not polled yet.
    pub fn in_group(mut consumer: Consumer) -> Reading {
        let progress = Progress::default();
        consumer.on_rebalance(progress.clone());
        Reading {
            progress: Some(progress),
            ..Reading::alone(consumer)
        }
    }

    /// Prints until there is enough, or nobody reads it.
    pub async fn pump(
        &mut self,
        ends: Option<&BTreeMap<TopicPartition, Offset>>,
        max: Option<u64>,
        printer: &Printer<'_>,
    ) -> Result<(), Failure> {
        let mut printed = 0;
        loop {
            if max.is_some_and(|max| printed >= max) {
                return Ok(());
            }
            if let Some(ends) = ends
                && self.has_reached(ends).await?
            {
                return Ok(());
            }
            let records = self.consumer.poll(POLL).await.context("reading")?;
            let left = max.map_or(u64::MAX, |max| max - printed);
            let wanted = records.iter().filter(|record| !is_past(record, ends));
            let wanted: Vec<_> = wanted.take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
            printed += wanted.len() as u64;
            if printer.print(&wanted)? == Printed::NobodyReads {
                return Ok(());
            }
            if let Some(progress) = &self.progress {
                progress.note(&wanted);
            }
            if self.committed_at.elapsed() >= COMMIT_INTERVAL {
                self.commit().await?;
            }
        }
    }

    async fn has_reached(&mut self, ends: &BTreeMap<TopicPartition, Offset>) -> Result<bool, Failure> {
        if self.progress.is_none() {
            return Ok(self.consumer.has_reached(ends));
        }
        let assigned = self.consumer.assignment();
        if assigned.is_empty() {
            return self.others_have_reached(ends).await;
        }
        self.without_partitions = None;
        let at_end = |partition: &TopicPartition| {
            let position = self.consumer.position(partition);
            ends.get(partition)
                .is_none_or(|end| position.is_some_and(|position| position >= *end))
        };
        Ok(assigned.iter().all(at_end))
    }

    /// Whether a member without partitions need not wait for any.
    async fn others_have_reached(&mut self, ends: &BTreeMap<TopicPartition, Offset>) -> Result<bool, Failure> {
        if ends.is_empty() {
            return Ok(true);
        }
        if self.consumer.group_membership().is_none() {
            // It may yet get some when it has joined.
            self.without_partitions = None;
            return Ok(false);
        }
        let now = Instant::now();
        let without = self.without_partitions.get_or_insert(Without {
            since: now,
            looked_at: None,
        });
        if now.duration_since(without.since) >= WITHOUT_PARTITIONS_MAX {
            return Ok(true);
        }
        if without
            .looked_at
            .is_some_and(|looked_at| now.duration_since(looked_at) < COMMIT_INTERVAL)
        {
            return Ok(false);
        }
        without.looked_at = Some(now);
        let committed = match self.consumer.committed(ends.keys().cloned()).await {
            Ok(committed) => committed,
            Err(error) if error.is_retriable() => return Ok(false),
            Err(error) => return Err(Failure::from(anyhow::Error::new(error))),
        };
        let is_read = |(partition, end): (&TopicPartition, &Offset)| {
            let read = committed.get(partition).map_or(Offset(0), |committed| committed.offset);
            read >= *end
        };
        Ok(ends.iter().all(is_read))
    }

    /// What a rebalance does not let through stays, for the next time or for whom it is revoked to.
    async fn commit(&mut self) -> Result<(), Failure> {
        self.committed_at = Instant::now();
        let Some(progress) = &self.progress else { return Ok(()) };
        let offsets = progress.offsets().clone();
        if offsets.is_empty() {
            return Ok(());
        }
        match self.consumer.commit_offsets(offsets.clone()).await {
            Ok(()) => {
                progress
                    .offsets()
                    .retain(|partition, offset| offsets.get(partition) != Some(offset));
                Ok(())
            }
            Err(CommitError::RebalanceInProgress | CommitError::NotMember) => Ok(()),
            Err(error) => Err(Failure::from(anyhow::Error::new(error))),
        }
    }

    /// Giving the partitions up commits what was printed of them.
    pub async fn close(self) -> Result<(), Failure> {
        match self.consumer.close().await {
            Ok(()) | Err(CommitError::RebalanceInProgress | CommitError::NotMember) => Ok(()),
            Err(error) => Err(Failure::from(anyhow::Error::new(error).context("leaving the group"))),
        }
    }
}

fn partition_of(record: &ConsumerRecord) -> TopicPartition {
    TopicPartition::new(record.topic.clone(), record.partition.0)
}

/// Whether a record came after the end that the command stops at.
fn is_past(record: &ConsumerRecord, ends: Option<&BTreeMap<TopicPartition, Offset>>) -> bool {
    ends.and_then(|ends| ends.get(&partition_of(record)))
        .is_some_and(|end| record.offset >= *end)
}

#[cfg(test)]
mod tests {
    use klamm_client::admin::NewTopic;
    use klamm_client::{
        Assignor, Client, ClientConfig, ConsumerConfig, GroupConfig, GroupProtocol, OffsetReset, ProducerConfig,
        ProducerRecord,
    };
    use klamm_testkit::Cluster;

    use super::*;
    use crate::output::Format;

    /// Nothing is said on standard output.
    const SILENT: Printer<'_> = Printer {
        format: Format::Table,
        template: "",
    };
    const WAIT: Duration = Duration::from_secs(30);

    /// A topic with five records in each partition.
    async fn topic(client: &Client, name: &str, partitions: i32) {
        let topic = NewTopic::new(name).partitions(partitions);
        client.admin().create_topic(topic).await.unwrap();
        let producer = client.producer(ProducerConfig::default()).unwrap();
        for number in 0..5 * partitions {
            let record = ProducerRecord::to(name).partition(number % partitions).value("v");
            producer.send(record).await.unwrap().await.unwrap();
        }
    }

    /// A member that keeps what it has, as far as it may.
    fn member(client: &Client, topic: &str, protocol: GroupProtocol) -> Consumer {
        let mut consumer = client.consumer(ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            group: Some(GroupConfig {
                group_protocol: protocol,
                assignors: vec![Assignor::CooperativeSticky],
                heartbeat_interval: Duration::from_millis(100),
                auto_commit_interval: None,
                ..GroupConfig::new(topic)
            }),
            ..ConsumerConfig::default()
        });
        consumer.subscribe([topic]).unwrap();
        consumer
    }

    async fn stored(client: &Client, group: &str) -> BTreeMap<TopicPartition, Offset> {
        let offsets = client.admin().list_group_offsets(group).await.unwrap();
        let offsets = offsets.into_iter().map(|(key, committed)| (key, committed.offset));
        offsets.collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_revoked_takes_its_progress_along() {
        let cluster = Cluster::start().await.unwrap();
        let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await.unwrap();
        for (name, protocol) in [
            ("classic", GroupProtocol::Classic),
            ("consumer", GroupProtocol::Consumer),
        ] {
            topic(&client, name, 2).await;
            let mut reading = Reading::in_group(member(&client, name, protocol));
            // All is printed, and nothing committed.
            reading.committed_at = Instant::now() + WAIT;
            reading.pump(None, Some(10), &SILENT).await.unwrap();
            assert_eq!(stored(&client, name).await, BTreeMap::new());
            let mut other = member(&client, name, protocol);
            let shared = async {
                while other.assignment().is_empty() || reading.consumer.assignment().len() != 1 {
                    let again = other.poll(Duration::from_millis(20)).await.unwrap();
                    assert!(again.is_empty(), "printed twice: {again:?}");
                    assert!(
                        reading
                            .consumer
                            .poll(Duration::from_millis(20))
                            .await
                            .unwrap()
                            .is_empty()
                    );
                }
            };
            tokio::time::timeout(WAIT, shared).await.unwrap();
            let given = other.assignment()[0].clone();
            assert_eq!(stored(&client, name).await.get(&given), Some(&Offset(5)), "{name}");

            // What the other does with it is not undone by who had it before.
            let back = BTreeMap::from([(given.clone(), CommittedOffset::new(Offset(3)))]);
            other.commit_offsets(back).await.unwrap();
            reading.commit().await.unwrap();
            let kept = reading.consumer.assignment()[0].clone();
            let expected = BTreeMap::from([(given, Offset(3)), (kept, Offset(5))]);
            assert_eq!(stored(&client, name).await, expected);
            assert!(reading.progress.as_ref().unwrap().offsets().is_empty());
            reading.close().await.unwrap();
            other.close().await.unwrap();
        }
        cluster.stop().await;
    }

    #[tokio::test]
    async fn what_is_lost_is_forgotten() {
        let mut progress = Progress::default();
        let of = |number| TopicPartition::new("t", number);
        for number in [0, 1] {
            progress.offsets().insert(of(number), CommittedOffset::new(Offset(7)));
        }
        progress.lost(&[of(0)]).await;
        let left: Vec<TopicPartition> = progress.offsets().keys().cloned().collect();
        assert_eq!(left, [of(1)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_member_without_partitions_stops_when_the_others_are_at_the_end() {
        let cluster = Cluster::start().await.unwrap();
        let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await.unwrap();
        for (name, protocol) in [
            ("classic", GroupProtocol::Classic),
            ("consumer", GroupProtocol::Consumer),
        ] {
            topic(&client, name, 1).await;
            let ends = BTreeMap::from([(TopicPartition::new(name, 0), Offset(5))]);
            let mut busy = Reading::in_group(member(&client, name, protocol));
            busy.pump(None, Some(5), &SILENT).await.unwrap();
            let mut idle = Reading::in_group(member(&client, name, protocol));
            let none = tokio::time::timeout(WAIT, idle.pump(Some(&BTreeMap::new()), None, &SILENT)).await;
            none.expect("a topic without partitions is read").unwrap();
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(WAIT, idle.pump(Some(&ends), None, &SILENT)) => outcome,
                outcome = busy.pump(None, None, &SILENT) => panic!("{outcome:?}"),
            };
            outcome.expect("it stops").unwrap();
            assert_eq!(idle.consumer.assignment(), []);
            idle.close().await.unwrap();
            busy.close().await.unwrap();
        }
        cluster.stop().await;
    }
}
