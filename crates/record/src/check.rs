//! Is this batch what it claims to be? The rules differ by where it comes from, so they are a value.
//!
//! What a topic's settings decide (sizes, whether timestamps are recent enough) enters as bounds. Whether a sequence
//! follows the last one is known only to the partition's producer state and is not looked at here.

use klamm_types::Timestamp;

use crate::batch::Batch;
use crate::compression::Compression;
use crate::crc::crc32c;
use crate::error::BatchError;
use crate::header::{AT_ATTRIBUTES, BatchHeader, HEADER_SIZE, TimestampType};
use crate::record::RawRecord;

/// Where a batch comes from, and so what its header may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginRule {
    /// Fresh from a producer: base offset 0, no control batch, as many records as offsets, at least one.
    Produced,
    /// From a log or a leader: compaction may have taken records, brokers write control batches.
    Stored,
}

/// How far to look into the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordDepth {
    /// Not at all: header and checksum only.
    Header,
    /// Uncompressed records are walked by their lengths; compressed ones stay closed.
    Walk,
    /// Compressed ones are opened and walked too.
    Open {
        /// The bound on what decompression brings out, in bytes.
        decompressed_size_max: usize,
    },
}

/// Whether records may lack a key. Only records that are walked are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    Optional,
    /// Compacted topics.
    Required,
}

/// The timestamps that a topic takes, both ends included. -1, no timestamp, is always taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampBounds {
    pub min: Timestamp,
    pub max: Timestamp,
}

/// What [`Batch::check`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRules {
    pub origin: OriginRule,
    pub depth: RecordDepth,
    pub keys: KeyRule,
    /// `None`: any timestamp. Closed compressed batches are judged by their header.
    pub timestamps: Option<TimestampBounds>,
}

impl CheckRules {
    /// For a produced batch of an ordinary topic.
    pub fn produced() -> CheckRules {
        CheckRules {
            origin: OriginRule::Produced,
            depth: RecordDepth::Walk,
            keys: KeyRule::Optional,
            timestamps: None,
        }
    }

    /// For a produced batch of a compacted topic: opened, and every record has a key.
    pub fn produced_compacted(decompressed_size_max: usize) -> CheckRules {
        CheckRules {
            depth: RecordDepth::Open { decompressed_size_max },
            keys: KeyRule::Required,
            ..CheckRules::produced()
        }
    }

    /// For a batch out of a log or from a leader: header and checksum.
    pub fn stored() -> CheckRules {
        CheckRules {
            origin: OriginRule::Stored,
            depth: RecordDepth::Header,
            keys: KeyRule::Optional,
            timestamps: None,
        }
    }

    /// These rules with bounds on the timestamps.
    pub fn within(self, timestamps: TimestampBounds) -> CheckRules {
        CheckRules {
            timestamps: Some(timestamps),
            ..self
        }
    }
}

/// What a check found out on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The largest timestamp of the records, if they were walked and the producer set them. A leader corrects a
    /// header that says otherwise with [`Batch::with_create_time`].
    pub max_timestamp: Option<Timestamp>,
}

impl Batch {
    /// Checks the batch by `rules`: checksum first, then header, then records as deep as the rules say.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self, rules: &CheckRules) -> Result<Checked, BatchError> {
        let computed = crc32c(&self.bytes[AT_ATTRIBUTES..]);
        if computed != self.header.crc {
            return Err(BatchError::BadCrc {
                stored: self.header.crc,
                computed,
            });
        }
        self.check_header(rules)?;
        match (rules.depth, self.header.attributes.compression()?) {
            (RecordDepth::Walk | RecordDepth::Open { .. }, Compression::None) => {
                self.walk(&self.bytes[HEADER_SIZE..], rules)
            }
            (RecordDepth::Open { decompressed_size_max }, _) => self.walk(&self.block(decompressed_size_max)?, rules),
            (RecordDepth::Header | RecordDepth::Walk, _) => self.closed(rules),
        }
    }

    fn check_header(&self, rules: &CheckRules) -> Result<(), BatchError> {
        let header = &self.header;
        check_producer(header)?;
        let (count, offsets) = (i64::from(header.records_count), i64::from(header.last_offset_delta) + 1);
        let fits = match rules.origin {
            OriginRule::Produced => count == offsets,
            OriginRule::Stored => (0..=offsets).contains(&count),
        };
        if !fits {
            return Err(BatchError::BadCount {
                records_count: header.records_count,
                last_offset_delta: header.last_offset_delta,
            });
        }
        if rules.origin == OriginRule::Produced {
            if header.base_offset.0 != 0 {
                return Err(BatchError::BaseOffsetNotZero {
                    base_offset: header.base_offset,
                });
            }
            if header.attributes.is_control() {
                return Err(BatchError::ControlNotAllowed);
            }
        }
        Ok(())
    }

    /// Judges a batch whose records stay closed by the two timestamps of its header.
    fn closed(&self, rules: &CheckRules) -> Result<Checked, BatchError> {
        let header = &self.header;
        if !header.attributes.has_delete_horizon() {
            check_timestamp(rules, 0, header.base_timestamp)?;
        }
        check_timestamp(rules, 0, header.max_timestamp)?;
        Ok(Checked::default())
    }

    fn walk(&self, block: &[u8], rules: &CheckRules) -> Result<Checked, BatchError> {
        let (mut at, mut last_delta, mut max) = (0, -1, Timestamp::NONE);
        for index in 0..self.header.records_count {
            let record = RawRecord::parse(block, at).map_err(|cause| BatchError::BadRecord { index, cause })?;
            at = record.end;
            let follows = match rules.origin {
                OriginRule::Produced => record.offset_delta == index,
                OriginRule::Stored => {
                    record.offset_delta > last_delta && record.offset_delta <= self.header.last_offset_delta
                }
            };
            if !follows {
                return Err(BatchError::BadOffsetDelta {
                    index,
                    found: record.offset_delta,
                });
            }
            last_delta = record.offset_delta;
            if rules.keys == KeyRule::Required && record.key.is_none() {
                return Err(BatchError::KeyMissing { index });
            }
            let timestamp = self.header.base_timestamp.0.checked_add(record.timestamp_delta);
            let timestamp = Timestamp(timestamp.ok_or(BatchError::BadTimestamp { index })?);
            check_timestamp(rules, index, timestamp)?;
            max = max.max(timestamp);
        }
        if at != block.len() {
            return Err(BatchError::RecordsLeftOver {
                count: block.len() - at,
            });
        }
        match self.header.attributes.timestamp_type() {
            TimestampType::CreateTime => Ok(Checked {
                max_timestamp: Some(max),
            }),
            TimestampType::LogAppendTime => Ok(Checked::default()),
        }
    }
}

fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let (id, epoch, sequence) = (header.producer_id.0, header.producer_epoch.0, header.base_sequence.0);
    let good = if id < 0 {
        // Nothing is asked of the epoch and sequence of a producer that has no id: old clients fill them freely.
        id == -1
    } else if header.attributes.is_control() {
        epoch >= 0
    } else {
        epoch >= 0 && sequence >= 0
    };
    if good {
        return Ok(());
    }
    Err(BatchError::BadProducer {
        producer_id: id,
        producer_epoch: epoch,
        base_sequence: sequence,
    })
}

fn check_timestamp(rules: &CheckRules, index: i32, timestamp: Timestamp) -> Result<(), BatchError> {
    match rules.timestamps {
        Some(bounds) if timestamp != Timestamp::NONE && !(bounds.min..=bounds.max).contains(&timestamp) => {
            Err(BatchError::TimestampOutOfBounds { index, timestamp })
        }
        _ => Ok(()),
    }
}
