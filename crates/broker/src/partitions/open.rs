//! Opening a partition's log: what recovery found becomes what the replication core starts with.

use std::sync::Arc;

use klamm_log::{Log, LogConfig, OpenError, ProducerSnapshot, ReadError, RecoveryHint, Replay, UnflushedMark};
use klamm_replication::{OpenedLog, ProducerTable};
use klamm_types::{HighWatermark, LogStartOffset, Offset, TopicPartition};

use super::carry::chain;
use super::checkpoint::Marks;
use super::clock::wall;
use super::directory::{self, DirectoryError};
use super::shared::Shared;

/// Why a partition cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("making the directory of a partition")]
    Directory(#[from] DirectoryError),
    #[error("reading or forgetting the marks of a partition")]
    Marks(#[from] klamm_log::DiskError),
    #[error("opening a partition")]
    Open(#[from] OpenError),
    #[error("rebuilding the producer state of a partition")]
    Read(#[from] ReadError),
    #[error("moving the log start of a partition")]
    LogStart(#[from] klamm_log::ChangeError),
}

/// Makes the directory of a new partition and opens its log.
pub(crate) fn create(
    shared: &Shared,
    name: &str,
    partition: TopicPartition,
    config: LogConfig,
) -> Result<(Log, OpenedLog), HostError> {
    shared.checkpoints.forget(partition)?;
    directory::create(shared.disk.as_ref(), &shared.config.data_dir, name, partition.topic)?;
    let hint = RecoveryHint {
        recovery_point: None,
        clean_stop: false,
    };
    let opening = Opening {
        disk: Arc::clone(&shared.disk),
        config,
        hint,
        marks: Marks::default(),
    };
    open(&shared.config.data_dir, name, opening)
}

/// What is known of a log before it is opened.
pub(crate) struct Opening {
    pub disk: Arc<dyn klamm_log::Disk>,
    pub config: LogConfig,
    pub hint: RecoveryHint,
    pub marks: Marks,
}

/// Opens the log in the directory `name` of `data`.
pub(crate) fn open(data: &std::path::Path, name: &str, opening: Opening) -> Result<(Log, OpenedLog), HostError> {
    let Opening {
        disk,
        config,
        hint,
        marks,
    } = opening;
    let dir = data.join(name);
    let unflushed_mark = UnflushedMark::is_set(disk.as_ref(), &dir)?;
    let (mut log, recovery) = Log::open(disk, &dir, config, hint)?;
    if let Some(cut) = &recovery.cut {
        let (from, bytes) = (cut.from.0, cut.bytes);
        tracing::info!(partition = name, from, bytes, "recovery has cut an interrupted write");
    }
    if let Some(damage) = &recovery.damage {
        tracing::error!(partition = name, %damage, "recovery has found damage");
    }
    if marks.log_start > log.log_start_offset() && marks.log_start <= log.log_end_offset() {
        log.advance_log_start(marks.log_start)?;
    }
    let producers = producers(
        name,
        recovery.producer_snapshot,
        recovery.replay,
        log.log_start_offset(),
    )?;
    let opened = OpenedLog {
        log_start: LogStartOffset::from(log.log_start_offset()),
        log_end: log.log_end_offset(),
        flushed: log.flushed_offset(),
        epochs: log.epochs().iter().map(|entry| (entry.epoch, entry.start)).collect(),
        producers,
        high_watermark: HighWatermark::from(marks.high_watermark),
        unflushed_mark,
        damaged_from: recovery.damage.map(|damage| damage.offset),
    };
    Ok((log, opened))
}

/// The producer state at the end of a log: a snapshot, and the batches behind it.
pub(crate) fn producers(
    name: &str,
    snapshot: Option<ProducerSnapshot>,
    replay: Replay,
    log_start: Offset,
) -> Result<ProducerTable, ReadError> {
    let decoded = snapshot.map(|snapshot| ProducerTable::decode(&snapshot.bytes));
    let mut table = match decoded {
        Some(Ok(table)) => table,
        Some(Err(error)) => {
            tracing::warn!(
                partition = name,
                error = chain(&error),
                "a producer snapshot cannot be used"
            );
            ProducerTable::new(log_start)
        }
        None => ProducerTable::new(log_start),
    };
    let now = wall();
    for batch in replay {
        match batch {
            Ok(batch) => table.replay(batch.header(), now),
            // Recovery has found the damage too and reports it; the producers end where the log can be read.
            Err(ReadError::Corrupt(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(table)
}
