//! Control batches: what brokers write between the records of producers. Consumers never see them.

use klamm_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::batch::Batch;
use crate::builder::{BatchBuilder, BatchOptions};
use crate::error::BuildError;
use crate::record::Record;
use crate::rewrite::ProducerStamp;

const KEY_VERSION: i16 = 0;
const MARKER_VERSION: i16 = 0;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnResult {
    Abort,
    Commit,
}

/// What a control record is about. New kinds may come: skip those that are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    EndTxn(TxnResult),
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    KraftVersion,
    KraftVoters,
    Unknown(i16),
}

impl ControlKind {
    /// From the key of a control record; `None` if it is too short or of an unknown version.
    pub fn from_key(key: &[u8]) -> Option<ControlKind> {
        let (version, rest) = key.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) < KEY_VERSION {
            return None;
        }
        let number = i16::from_be_bytes(*rest.first_chunk::<2>()?);
        Some(match number {
            0 => ControlKind::EndTxn(TxnResult::Abort),
            1 => ControlKind::EndTxn(TxnResult::Commit),
            2 => ControlKind::LeaderChange,
            3 => ControlKind::SnapshotHeader,
            4 => ControlKind::SnapshotFooter,
            5 => ControlKind::KraftVersion,
            6 => ControlKind::KraftVoters,
            other => ControlKind::Unknown(other),
        })
    }
}

/// The end of a transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    pub result: TxnResult,
    /// Which life of the transaction coordinator decided it; a lower one than seen before is fenced.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// From the one record of a control batch; `None` if it is something else or malformed.
    pub fn from_record(record: &Record) -> Option<EndTxnMarker> {
        let ControlKind::EndTxn(result) = ControlKind::from_key(record.key.as_deref()?)? else {
            return None;
        };
        let (version, rest) = record.value.as_deref()?.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) < MARKER_VERSION {
            return None;
        }
        Some(EndTxnMarker {
            result,
            coordinator_epoch: i32::from_be_bytes(*rest.first_chunk::<4>()?),
        })
    }
}

/// A batch that ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerBatch {
    pub marker: EndTxnMarker,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub timestamp: Timestamp,
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl MarkerBatch {
    /// # Errors
    /// None can occur in practice: the batch has one small record and no codec.
    pub fn build(&self) -> Result<Batch, BuildError> {
        let number: i16 = match self.marker.result {
            TxnResult::Abort => 0,
            TxnResult::Commit => 1,
        };
        let key = [KEY_VERSION.to_be_bytes(), number.to_be_bytes()].concat();
        let value = [
            &MARKER_VERSION.to_be_bytes()[..],
            &self.marker.coordinator_epoch.to_be_bytes(),
        ]
        .concat();
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: self.base_offset,
            leader_epoch: self.leader_epoch,
            producer: ProducerStamp {
                producer_id: self.producer_id,
                producer_epoch: self.producer_epoch,
                base_sequence: Sequence::NONE,
            },
            transactional: true,
            control: true,
            ..BatchOptions::default()
        });
        builder.append(self.timestamp, Some(&key), Some(&value), &[])?;
        builder.build()
    }
}
