//! What compaction makes of a batch: some of its records, none of them, or a placeholder for many batches.
//!
//! The offsets that a batch covers never change, so a compacted log is as dense as any other. Which records may go is
//! for the caller to say.

use std::ops::Range;

use bytes::Bytes;
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use crate::batch::Batch;
use crate::compression::{Compression, CompressionLevel, compress};
use crate::error::{BatchError, BuildError, RecordError};
use crate::header::{Attributes, BatchHeader, MAGIC, TimestampType};
use crate::record::RawRecord;
use crate::rewrite::{ProducerStamp, assemble};
use crate::varint::{Cursor, write_varlong};

/// What compaction looks at in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub offset: Offset,
    pub key: Option<&'a [u8]>,
    /// It has no value: it says that its key is deleted.
    pub is_tombstone: bool,
}

/// What is to become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    Remove,
}

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// All of it: its bytes stay as they are.
    Whole,
    Changed(Batch),
    /// No record. [`Batch::hollow`] keeps what its header says.
    Nothing,
}

impl Batch {
    /// The batch without the records that `judge` removes. Offsets, producer, codec and timestamps of the others stay.
    ///
    /// A batch that keeps a tombstone and has no delete horizon yet gets `delete_horizon` as its own.
    ///
    /// # Errors
    /// The records cannot be read within `decompressed_size_max` bytes, or not be compressed again.
    pub fn compacted(
        &self,
        delete_horizon: Timestamp,
        decompressed_size_max: usize,
        mut judge: impl FnMut(Candidate<'_>) -> Verdict,
    ) -> Result<Compacted, BatchError> {
        let block = self.block(decompressed_size_max)?;
        let (mut kept, mut at, mut tombstones) = (Vec::new(), 0, false);
        for index in 0..self.header.records_count {
            let malformed = |cause| BatchError::BadRecord { index, cause };
            let raw = RawRecord::parse(&block, at).map_err(malformed)?;
            let candidate = Candidate {
                offset: Offset(self.header.base_offset.0.saturating_add(i64::from(raw.offset_delta))),
                key: raw.key.clone().map(|range| &block[range]),
                is_tombstone: raw.value.is_none(),
            };
            let span = at..raw.end;
            at = raw.end;
            if judge(candidate) == Verdict::Keep {
                tombstones |= raw.value.is_none();
                kept.push((span, raw.timestamp_delta));
            }
        }
        let needs_horizon = tombstones && !self.header.attributes.has_delete_horizon();
        if kept.is_empty() {
            return Ok(Compacted::Nothing);
        }
        if kept.len() == self.header.records_count as usize && !needs_horizon {
            return Ok(Compacted::Whole);
        }
        self.with_records(&block, &kept, needs_horizon.then_some(delete_horizon))
            .map(Compacted::Changed)
    }

    fn with_records(
        &self,
        block: &Bytes,
        kept: &[(Range<usize>, i64)],
        horizon: Option<Timestamp>,
    ) -> Result<Batch, BatchError> {
        let mut header = self.header;
        let mut max = Timestamp::NONE;
        let mut records = Vec::with_capacity(block.len());
        if let Some(horizon) = horizon {
            header.attributes = Attributes(header.attributes.0 | Attributes::DELETE_HORIZON);
            header.base_timestamp = horizon;
        }
        for (index, (span, delta)) in (0..).zip(kept) {
            let bad = BatchError::BadTimestamp { index };
            let timestamp = self.header.base_timestamp.0.checked_add(*delta).ok_or(bad)?;
            max = max.max(Timestamp(timestamp));
            match horizon {
                None => records.extend_from_slice(&block[span.clone()]),
                Some(horizon) => {
                    let bad = BatchError::BadTimestamp { index };
                    let delta = timestamp.checked_sub(horizon.0).ok_or(bad)?;
                    restamp(&block[span.clone()], delta, &mut records)
                        .map_err(|cause| BatchError::BadRecord { index, cause })?;
                }
            }
        }
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = max;
        }
        header.records_count = kept.len() as i32;
        let codec = header.attributes.compression()?;
        let built = match codec {
            Compression::None => assemble(header, codec, &records),
            codec => compress(codec, CompressionLevel::Default, &records)
                .map_err(|cause| BuildError::Compress { codec, cause })
                .and_then(|records| assemble(header, codec, &records)),
        };
        built.map_err(BatchError::Rebuild)
    }

    /// The batch without any record: it keeps its offsets and what its producer is known by.
    ///
    /// # Errors
    /// None that a batch with records would not have had.
    pub fn hollow(&self) -> Result<Batch, BatchError> {
        let header = BatchHeader {
            records_count: 0,
            ..self.header
        };
        assemble(header, Compression::None, &[]).map_err(BatchError::Rebuild)
    }

    /// A batch without records, in the place of all batches from `base` to `last`. `None`: it cannot reach so far.
    pub fn filler(base: Offset, last: Offset, epoch: LeaderEpoch) -> Option<Batch> {
        let last_offset_delta = i32::try_from(last.0.checked_sub(base.0)?)
            .ok()
            .filter(|delta| *delta >= 0)?;
        let none = ProducerStamp::NONE;
        let header = BatchHeader {
            base_offset: base,
            batch_length: 0,
            partition_leader_epoch: epoch,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer_id: none.producer_id,
            producer_epoch: none.producer_epoch,
            base_sequence: none.base_sequence,
            records_count: 0,
        };
        assemble(header, Compression::None, &[]).ok()
    }

    /// Whether nothing is lost if the batch is replaced by a larger or smaller filler.
    pub fn is_filler(&self) -> bool {
        self.header.is_filler()
    }
}

impl BatchHeader {
    /// As [`Batch::is_filler`].
    pub fn is_filler(&self) -> bool {
        self.records_count == 0 && !self.has_producer_id() && !self.attributes.is_control()
    }
}

/// Copies a record with another timestamp delta.
fn restamp(record: &[u8], delta: i64, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let mut cursor = Cursor::new(record, 0);
    cursor.varint()?;
    let attributes = cursor.byte()?;
    cursor.varlong()?;
    let rest = &record[cursor.at..];
    let mut stamp = vec![attributes];
    write_varlong(&mut stamp, delta);
    write_varlong(out, (stamp.len() + rest.len()) as i64);
    out.extend_from_slice(&stamp);
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use klamm_types::{ProducerEpoch, ProducerId, Sequence};

    use super::*;
    use crate::{BatchBuilder, BatchOptions, CheckRules, DECOMPRESSED_SIZE_MAX, RecordDepth};

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// Five records at offset 10 of an idempotent producer; the third is a tombstone.
    fn batch(compression: Compression) -> Batch {
        let mut builder = BatchBuilder::new(BatchOptions {
            compression,
            producer: ProducerStamp {
                producer_id: ProducerId(7),
                producer_epoch: ProducerEpoch(1),
                base_sequence: Sequence(20),
            },
            ..BatchOptions::default()
        });
        for (index, value) in [Some("a"), Some("b"), None, Some("d"), Some("e")]
            .into_iter()
            .enumerate()
        {
            let key = format!("key-{index}");
            let time = Timestamp(1_000 + index as i64);
            builder
                .append(time, Some(key.as_bytes()), value.map(str::as_bytes), &[])
                .unwrap();
        }
        builder.build().unwrap().assigned(Offset(10), LeaderEpoch(3))
    }

    fn keep(batch: &Batch, offsets: &[i64]) -> Compacted {
        let judge = |candidate: Candidate<'_>| match offsets.contains(&candidate.offset.0) {
            true => Verdict::Keep,
            false => Verdict::Remove,
        };
        batch.compacted(Timestamp(5_000), DECOMPRESSED_SIZE_MAX, judge).unwrap()
    }

    fn changed(compacted: Compacted) -> Batch {
        let Compacted::Changed(batch) = compacted else {
            panic!("{compacted:?}");
        };
        let rules = CheckRules {
            depth: RecordDepth::Open {
                decompressed_size_max: DECOMPRESSED_SIZE_MAX,
            },
            ..CheckRules::stored()
        };
        batch.check(&rules).unwrap();
        batch
    }

    fn records(batch: &Batch) -> Vec<crate::Record> {
        let records = batch.records(DECOMPRESSED_SIZE_MAX).unwrap();
        records.map(Result::unwrap).collect()
    }

    #[test]
    fn records_that_stay_are_what_they_were() {
        for codec in CODECS {
            let whole = batch(codec);
            let left = changed(keep(&whole, &[11, 13]));
            let expected: Vec<_> = [1, 3].map(|index| records(&whole)[index].clone()).into();
            assert_eq!(records(&left), expected, "{codec:?}");
            let header = BatchHeader {
                records_count: 2,
                max_timestamp: Timestamp(1_003),
                batch_length: left.header.batch_length,
                crc: left.header.crc,
                ..whole.header
            };
            assert_eq!(*left.header(), header, "{codec:?}");
        }
    }

    #[test]
    fn a_tombstone_that_stays_gets_a_horizon_once() {
        for codec in CODECS {
            let whole = batch(codec);
            let stamped = changed(keep(&whole, &[10, 11, 12, 13, 14]));
            assert!(stamped.header.attributes.has_delete_horizon());
            assert_eq!(stamped.header.base_timestamp, Timestamp(5_000));
            assert_eq!(records(&stamped), records(&whole), "{codec:?}");
            assert_eq!(keep(&stamped, &[10, 11, 12, 13, 14]), Compacted::Whole);
            // Without its tombstone it keeps the horizon, which then means nothing.
            let left = changed(keep(&stamped, &[14]));
            assert_eq!(left.header.base_timestamp, Timestamp(5_000));
            assert_eq!(records(&left), records(&whole)[4..]);
        }
    }

    #[test]
    fn a_batch_may_lose_everything_but_its_place() {
        let whole = batch(Compression::Lz4);
        assert_eq!(keep(&whole, &[]), Compacted::Nothing);
        let hollow = whole.hollow().unwrap();
        hollow.check(&CheckRules::stored()).unwrap();
        assert_eq!(records(&hollow), []);
        assert_eq!((hollow.base_offset(), hollow.next_offset()), (Offset(10), Offset(15)));
        assert_eq!(hollow.header().last_sequence(), whole.header().last_sequence());
        assert!(!hollow.is_filler());
        assert_eq!(keep(&hollow, &[]), Compacted::Nothing);
    }

    #[test]
    fn a_filler_takes_the_place_of_many() {
        let filler = Batch::filler(Offset(5), Offset(1_000), LeaderEpoch(2)).unwrap();
        filler.check(&CheckRules::stored()).unwrap();
        assert!(filler.is_filler());
        assert_eq!((filler.next_offset(), filler.size()), (Offset(1_001), 61));
        assert_eq!(
            Batch::filler(Offset(0), Offset(i64::from(i32::MAX) + 1), LeaderEpoch(2)),
            None
        );
        assert_eq!(
            Batch::filler(Offset(1), Offset(0), LeaderEpoch(2)).map(|batch| batch.size()),
            None
        );
    }
}
