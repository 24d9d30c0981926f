//! One reader of a workload: everything in one partition, from the start, in the order in which it comes.

use std::time::Duration;

use klamm_client::{Client, ConsumeError, ConsumerConfig, OffsetReset, Start, TopicPartition};
use klamm_types::PartitionId;
use tokio::time::{Instant, sleep};

use super::run::{Ends, Shared};
use super::{WhenCut, WorkloadError};
use crate::anomaly::Reader;
use crate::judge::Event;
use crate::value::Value;

const POLL: Duration = Duration::from_millis(200);
/// How long the rest may take once nothing is produced any more.
const REST_MAX: Duration = Duration::from_secs(60);
/// Between two tries of what fails at once.
const PAUSE: Duration = Duration::from_millis(50);
const READER: Reader = Reader::Partition(0);

pub(super) struct Task {
    pub shared: Shared,
    pub client: Client,
    pub partition: PartitionId,
    pub until: Ends,
}

impl Task {
    pub async fn run(mut self) -> Result<(), WorkloadError> {
        let when_cut = self.shared.load.when_cut;
        let mut consumer = self.client.consumer(ConsumerConfig {
            offset_reset: match when_cut {
                WhenCut::ReadOn => OffsetReset::Earliest,
                WhenCut::Tell => OffsetReset::Error,
            },
            ..ConsumerConfig::default()
        });
        let partition = self.partition.0;
        let topic = self.shared.load.topic.as_str();
        consumer.assign([(TopicPartition::new(topic, partition), Start::Earliest)]);
        let mut next = 0;
        let (mut deadline, mut reason) = (None, String::new());
        loop {
            let end = self.end();
            // Beyond the end is who has not heard yet that the log was cut.
            let is_there = |end| next == end || (next > end && when_cut == WhenCut::ReadOn);
            if end.is_some_and(is_there) {
                return Ok(());
            }
            if let Some(end) = end {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + REST_MAX);
                if Instant::now() >= deadline {
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
                        let (reader, offset) = (READER, record.offset.0);
                        next = offset + 1;
                        let value = record.value.as_deref().and_then(Value::decode);
                        self.shared.note(partition, Event::Read { reader, offset, value });
                    },
                    Err(ConsumeError::Truncated { partition: cut, divergence: Some(offset), .. })
                        if when_cut == WhenCut::Tell =>
                    {
                        next = offset.0;
                        self.shared.note(partition, Event::Cut { offset: next });
                        // Only a partition that is not assigned cannot be sought in.
                        let _ = consumer.seek(&cut, Start::Offset(offset));
                    }
                    Err(error) => {
                        reason = error.to_string();
                        sleep(PAUSE).await;
                    }
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
