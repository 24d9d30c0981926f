//! Opening batches: checksum, decompression, records. Keeps the batch that is being handed out open; holds no position.

use std::sync::Arc;

use bytes::Bytes;
use klamm_record::{BatchError, CheckRules, Records};
use klamm_types::Offset;

use super::core::Lease;
use super::record::ConsumerRecord;

/// Turns leased batches into records.
pub(super) struct Reader {
    decompressed_bytes_max: usize,
    open: Option<Open>,
}

/// A batch of which some records have been handed out.
struct Open {
    lease: u64,
    records: Records,
    index: i32,
    /// The least offset that the next record may have.
    next: Offset,
}

/// What reading a lease brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Where reading goes on.
    pub position: Offset,
    /// Bytes of the keys, values and headers.
    pub bytes: usize,
}

impl Reader {
    pub fn new(decompressed_bytes_max: usize) -> Reader {
        Reader {
            decompressed_bytes_max,
            open: None,
        }
    }

    /// Appends up to `room` records of the batch, from the lease's position on. An error means that the record at that
    /// position cannot be read; those before it were handed out earlier.
    pub fn read(&mut self, lease: &Lease, room: usize, out: &mut Vec<ConsumerRecord>) -> Result<Read, BatchError> {
        let mut open = match self.open.take() {
            Some(open) if open.lease == lease.id && open.next == lease.position => open,
            _ => self.open(lease)?,
        };
        let mut read = Read {
            position: lease.position,
            bytes: 0,
        };
        for _ in 0..room {
            match open.next_record(lease) {
                Ok(Some(record)) => {
                    read.position = open.next;
                    read.bytes += size(&record);
                    out.push(record);
                }
                Ok(None) => {
                    read.position = lease.batch.next_offset();
                    return Ok(read);
                }
                // What precedes the fault goes out now, the fault comes back with the next call.
                Err(_) if read.position > lease.position => return Ok(read),
                Err(fault) => return Err(fault),
            }
        }
        if open.next == lease.batch.next_offset() {
            return Ok(read);
        }
        self.open = Some(open);
        Ok(read)
    }

    fn open(&self, lease: &Lease) -> Result<Open, BatchError> {
        lease.batch.check(&CheckRules::stored())?;
        let records = lease.batch.records(self.decompressed_bytes_max)?;
        Ok(Open {
            lease: lease.id,
            records,
            index: 0,
            next: lease.batch.base_offset(),
        })
    }
}

impl Open {
    /// The next record at or above the lease's position; `None` at the end of the batch.
    fn next_record(&mut self, lease: &Lease) -> Result<Option<ConsumerRecord>, BatchError> {
        let batch = &lease.batch;
        for record in self.records.by_ref() {
            let record = record?;
            if record.offset < self.next || record.offset > batch.last_offset() {
                let found = i32::try_from(record.offset.0 - batch.base_offset().0).unwrap_or(-1);
                return Err(BatchError::BadOffsetDelta {
                    index: self.index,
                    found,
                });
            }
            self.index += 1;
            self.next = Offset(record.offset.0 + 1);
            if record.offset < lease.position {
                continue;
            }
            return Ok(Some(ConsumerRecord {
                topic: Arc::clone(&lease.partition.topic),
                partition: lease.partition.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                timestamp_type: batch.header().attributes.timestamp_type(),
                key: record.key,
                value: record.value,
                headers: record.headers,
                leader_epoch: batch.leader_epoch(),
            }));
        }
        Ok(None)
    }
}

fn size(record: &ConsumerRecord) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|header| header.key.len() + length(&header.value))
        .sum();
    length(&record.key) + length(&record.value) + headers
}

#[cfg(test)]
mod tests {
    use klamm_record::{Batch, BatchBuilder, BatchOptions, Compression, DecompressError};
    use klamm_types::{LeaderEpoch, PartitionId, Timestamp};

    use super::*;
    use crate::consumer::record::TopicPartition;

    fn lease(position: i64, batch: Batch) -> Lease {
        Lease {
            id: 1,
            partition: TopicPartition::new("t", 4),
            position: Offset(position),
            batch,
        }
    }

    fn batch(compression: Compression) -> Batch {
        let (base_offset, leader_epoch) = (Offset(10), LeaderEpoch(3));
        let mut builder = BatchBuilder::new(BatchOptions {
            compression,
            base_offset,
            leader_epoch,
            ..Default::default()
        });
        for number in 0..5u8 {
            builder
                .append(Timestamp(1000), Some(&[number]), Some(&[number; 100]), &[])
                .unwrap();
        }
        builder.build().unwrap()
    }

    fn offsets(records: &[ConsumerRecord]) -> Vec<i64> {
        records.iter().map(|record| record.offset.0).collect()
    }

    #[test]
    fn a_batch_is_read_in_pieces() {
        for compression in Compression::ALL {
            let (mut reader, batch, mut out) = (Reader::new(10_000), batch(compression), Vec::new());
            let read = reader.read(&lease(11, batch.clone()), 2, &mut out).unwrap();
            assert_eq!(
                (offsets(&out), read),
                (
                    vec![11, 12],
                    Read {
                        position: Offset(13),
                        bytes: 202
                    }
                )
            );
            // Somewhere else, and back.
            out.clear();
            let read = reader.read(&lease(14, batch.clone()), 9, &mut out).unwrap();
            assert_eq!((offsets(&out), read.position), (vec![14], Offset(15)));
            out.clear();
            let read = reader.read(&lease(13, batch), 9, &mut out).unwrap();
            assert_eq!((offsets(&out), read.position), (vec![13, 14], Offset(15)));
            assert_eq!(
                (&*out[0].topic, out[0].partition, out[0].leader_epoch),
                ("t", PartitionId(4), LeaderEpoch(3))
            );
            assert_eq!(
                (out[0].key.as_deref(), out[0].timestamp),
                (Some(&[3u8][..]), Timestamp(1000))
            );
        }
    }

    #[test]
    fn a_batch_that_was_damaged() {
        let mut bytes = batch(Compression::None).bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let damaged = Batch::parse(bytes.into()).unwrap();
        let (mut reader, mut out) = (Reader::new(10_000), Vec::new());
        assert!(matches!(
            reader.read(&lease(10, damaged), 9, &mut out),
            Err(BatchError::BadCrc { .. })
        ));
        assert_eq!(out, []);
    }

    #[test]
    fn a_batch_that_opens_to_too_much() {
        let (mut reader, mut out) = (Reader::new(100), Vec::new());
        let refused = reader
            .read(&lease(10, batch(Compression::Zstd)), 9, &mut out)
            .unwrap_err();
        assert!(matches!(
            refused,
            BatchError::Decompress(DecompressError::TooLarge { size_max: 100, .. })
        ));
    }
}
