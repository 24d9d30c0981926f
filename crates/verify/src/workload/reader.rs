//! One reader of a workload: everything in one partition, from the start, in the order in which it comes.

use std::sync::Arc;
use std::time::Duration;

use klamm_client::{Client, ConsumerConfig, Start, TopicPartition};
use klamm_types::PartitionId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::WorkloadError;
use crate::history::{History, Read};
use crate::value::Value;

const POLL: Duration = Duration::from_millis(200);
/// How long the rest may take once nothing is produced any more.
const REST_MAX: Duration = Duration::from_secs(60);

pub(super) struct Task {
    pub client: Client,
    pub topic: String,
    pub partition: PartitionId,
    /// The end of every partition, once nothing is produced any more.
    pub until: watch::Receiver<Option<Arc<Vec<i64>>>>,
}

impl Task {
    pub async fn run(mut self) -> Result<History, WorkloadError> {
        let mut consumer = self.client.consumer(ConsumerConfig::default());
        consumer.assign([(
            TopicPartition::new(self.topic.as_str(), self.partition.0),
            Start::Earliest,
        )]);
        let mut history = History::default();
        let reads = history.partition(self.partition.0).reads.entry(0).or_default();
        let mut next = 0;
        let (mut deadline, mut reason) = (None, String::new());
        loop {
            let end = self.end();
            if end.is_some_and(|end| next >= end) {
                return Ok(history);
            }
            if let Some(end) = end {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + REST_MAX);
                if Instant::now() >= deadline {
                    let partition = self.partition.0;
                    return Err(WorkloadError::Unread {
                        partition,
                        end,
                        at: next,
                        waited: REST_MAX,
                        reason,
                    });
                }
            }
            tokio::select! {
                polled = consumer.poll(POLL) => match polled {
                    Ok(records) => for record in records {
                        next = record.offset.0 + 1;
                        let value = record.value.as_deref().and_then(Value::decode);
                        reads.push(Read { offset: record.offset.0, value });
                    },
                    Err(error) => reason = error.to_string(),
                },
                _ = self.until.changed(), if end.is_none() => {}
            }
        }
    }

    fn end(&self) -> Option<i64> {
        let ends = self.until.borrow();
        let index = usize::try_from(self.partition.0).ok()?;
        ends.as_ref()?.get(index).copied()
    }
}
