//! Reading a partition of an internal topic from its start to where it is committed.
//!
//! Which end has to be waited for is the core's to say (`Loading`).
//!
//! This rests on appends being synchronous: a worker writes what its replica accepts before it takes the next command
//! (`Context::feed` asserts it), so no record of an earlier shard is still on its way to the log when its end is asked for.
//! Were appends ever handed to another thread, the end to wait for would be that of what is accepted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use klamm_coordinator::record::from_batch_record;
use klamm_coordinator::{At, Loading, Shard};
use klamm_record::{Batches, DECOMPRESSED_SIZE_MAX};
use klamm_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::Metrics;
use crate::api::{
    EpochEndRequest, FetchPartition, FetchRequest, FetchedData, FollowerReads, Isolation, ListOffsetRequest,
    OffsetSpec, PartitionError,
};
use crate::partitions::Partitions;

const READ_BYTES_MAX: usize = 4 << 20;
/// How long one read waits for more before the end is asked for again.
const READ_WAIT: Duration = Duration::from_millis(20);

/// The partition of a shard, in the leader epoch that the shard lives for.
#[derive(Clone)]
pub(super) struct Source {
    pub partitions: Partitions,
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
}

/// Takes a record's key and value.
pub(super) type Take<'a> = &'a mut (dyn FnMut(Option<&Bytes>, Option<&Bytes>) + Send);

/// Why a shard could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("reading at offset {offset}: {}", .error.code.name())]
    Read { offset: Offset, error: PartitionError },
    #[error("a batch of the partition cannot be read")]
    Batch(#[from] klamm_record::BatchError),
}

impl Source {
    /// Replays the whole partition into `shard`.
    pub async fn load(&self, shard: &mut Shard, at: At, metrics: &Metrics) -> Result<(), LoadError> {
        let began = Instant::now();
        metrics.loads.add(1);
        self.each_record(&mut |key, value| {
            metrics.loaded_records.add(1);
            match from_batch_record(key, value) {
                Ok(Some(record)) => shard.replay(at, record),
                Ok(None) => {}
                Err(error) => {
                    metrics.unknown_records.add(1);
                    tracing::warn!(%error, "a record of a group is not understood and is passed over");
                }
            }
        })
        .await?;
        metrics.load_seconds.observe(began.elapsed());
        Ok(())
    }

    /// Gives every record that is in the log now, in its order.
    pub async fn each_record(&self, take: Take<'_>) -> Result<(), LoadError> {
        let log_end = self.log_end().await?;
        let mut loading = Loading::new(self.earliest().await?, log_end);
        while !loading.is_complete() {
            let data = self.read(loading.position()).await?;
            loading.read_to(take_records(&data, loading.position(), take)?);
            if loading.asks_for_end()
                && let Some(end) = self.committed_end().await?
            {
                loading.committed_to(end);
            }
        }
        Ok(())
    }

    async fn earliest(&self) -> Result<Offset, LoadError> {
        self.offset(OffsetSpec::Earliest)
            .await
            .map_err(|error| LoadError::Read {
                offset: Offset(0),
                error,
            })
    }

    /// `None` until the high watermark has reached the start of the epoch.
    async fn committed_end(&self) -> Result<Option<Offset>, LoadError> {
        match self.offset(OffsetSpec::Latest).await {
            Ok(end) => Ok(Some(end)),
            Err(error) if error.code == ErrorCode::OffsetNotAvailable => Ok(None),
            Err(error) => Err(LoadError::Read {
                offset: Offset::NONE,
                error,
            }),
        }
    }

    /// Where the log ends, committed or not, if anything was written in this epoch.
    async fn log_end(&self) -> Result<Offset, LoadError> {
        let request = EpochEndRequest {
            partition: self.partition,
            current_leader_epoch: self.leader_epoch,
            leader_epoch: self.leader_epoch,
        };
        let answer = self.partitions.epoch_end(request).await;
        answer.map(|end| end.end_offset).map_err(|error| LoadError::Read {
            offset: Offset::NONE,
            error,
        })
    }

    async fn offset(&self, spec: OffsetSpec) -> Result<Offset, PartitionError> {
        let request = ListOffsetRequest {
            partition: self.partition,
            current_leader_epoch: self.leader_epoch,
            spec,
            isolation: Isolation::ReadUncommitted,
            followers: FollowerReads::Refused,
        };
        Ok(self.partitions.list_offset(request).await?.offset)
    }

    async fn read(&self, offset: Offset) -> Result<FetchedData, LoadError> {
        let wanted = FetchPartition {
            partition: self.partition,
            fetch_offset: offset,
            current_leader_epoch: self.leader_epoch,
            last_fetched_epoch: LeaderEpoch::NONE,
            max_bytes: READ_BYTES_MAX,
        };
        let request = FetchRequest {
            partitions: vec![wanted],
            max_wait: READ_WAIT,
            min_bytes: 1,
            max_bytes: READ_BYTES_MAX,
            isolation: Isolation::ReadUncommitted,
            followers: FollowerReads::Refused,
        };
        let fetched = self.partitions.fetch(request).await.pop();
        let result = fetched.map_or_else(|| Err(ErrorCode::UnknownServerError.into()), |fetched| fetched.result);
        result.map_err(|error| LoadError::Read { offset, error })
    }
}

/// Gives the records of what was read; says where the next read begins.
fn take_records(data: &FetchedData, mut position: Offset, take: Take<'_>) -> Result<Offset, LoadError> {
    for piece in &data.records {
        for batch in Batches::new(piece.clone()) {
            let batch = batch?;
            position = position.max(batch.next_offset());
            if batch.header().attributes.is_control() {
                continue;
            }
            for record in batch.records(DECOMPRESSED_SIZE_MAX)? {
                let record = record?;
                take(record.key.as_ref(), record.value.as_ref());
            }
        }
    }
    Ok(position)
}
