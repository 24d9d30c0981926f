//! A producer table as bytes, for the log to keep beside its segments. The log does not look inside.
//!
//! A snapshot is a cache: whoever finds it unreadable replays the log from the start instead.
//!
//! Layout, big-endian: version u16 (1), end offset i64, producers u32, then per producer: id i64, epoch i16, last seen
//! i64, batches u8, then per batch: first and last sequence i32, first and last offset i64, maximum timestamp i64,
//! leader epoch i32; at the end a CRC-32C over everything before it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use klamm_record::crc32c;
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::{BATCHES_REMEMBERED, BatchSeen, ProducerEntry, ProducerTable};

const VERSION: u16 = 1;
const FRAME_SIZE: usize = 2 + 8 + 4 + 4;
const PRODUCER_SIZE: usize = 8 + 2 + 8 + 1;
const BATCH_SIZE: usize = 4 + 4 + 8 + 8 + 8 + 4;

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the producer snapshot is too short")]
    Truncated,
    #[error("the producer snapshot fails its checksum")]
    Checksum,
    #[error("the producer snapshot has the unknown version {version}")]
    Version { version: u16 },
    #[error("the producer snapshot contradicts itself")]
    Malformed,
}

impl ProducerTable {
    /// The table as bytes; belongs to [`ProducerTable::end`].
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FRAME_SIZE + self.producers.len() * (PRODUCER_SIZE + BATCH_SIZE));
        out.put_u16(VERSION);
        out.put_i64(self.end.0);
        out.put_u32(u32::try_from(self.producers.len()).expect("the table is bounded far below"));
        for (producer, entry) in &self.producers {
            out.put_i64(producer.0);
            out.put_i16(entry.epoch.0);
            out.put_i64(entry.last_seen.0);
            out.put_u8(u8::try_from(entry.batches.len()).expect("at most five"));
            for batch in &entry.batches {
                out.put_i32(batch.base_sequence.0);
                out.put_i32(batch.last_sequence.0);
                out.put_i64(batch.base_offset.0);
                out.put_i64(batch.last_offset.0);
                out.put_i64(batch.max_timestamp.0);
                out.put_i32(batch.leader_epoch.0);
            }
        }
        let crc = crc32c(&out);
        out.put_u32(crc);
        out.freeze()
    }

    /// The inverse of [`ProducerTable::encode`].
    ///
    /// # Errors
    /// The bytes are damaged or of another version; replay the log instead.
    pub fn decode(bytes: &[u8]) -> Result<ProducerTable, SnapshotError> {
        if bytes.len() < FRAME_SIZE {
            return Err(SnapshotError::Truncated);
        }
        let (mut body, mut tail) = bytes.split_at(bytes.len() - 4);
        if crc32c(body) != tail.get_u32() {
            return Err(SnapshotError::Checksum);
        }
        let version = body.get_u16();
        if version != VERSION {
            return Err(SnapshotError::Version { version });
        }
        let mut table = ProducerTable::new(Offset(body.get_i64()));
        let count = body.get_u32();
        for _ in 0..count {
            let (producer, entry) = decode_producer(&mut body)?;
            if table.producers.contains_key(&producer) {
                return Err(SnapshotError::Malformed);
            }
            if !is_planted(Bug::ForgetProducerSnapshot) {
                table.put(producer, entry);
            }
        }
        if body.has_remaining() {
            return Err(SnapshotError::Malformed);
        }
        table.forget_surplus();
        Ok(table)
    }
}

fn decode_producer(body: &mut &[u8]) -> Result<(ProducerId, ProducerEntry), SnapshotError> {
    if body.remaining() < PRODUCER_SIZE {
        return Err(SnapshotError::Truncated);
    }
    let producer = ProducerId(body.get_i64());
    let mut entry = ProducerEntry {
        epoch: ProducerEpoch(body.get_i16()),
        last_seen: Timestamp(body.get_i64()),
        batches: Default::default(),
    };
    let count = usize::from(body.get_u8());
    if count > BATCHES_REMEMBERED {
        return Err(SnapshotError::Malformed);
    }
    if body.remaining() < count * BATCH_SIZE {
        return Err(SnapshotError::Truncated);
    }
    for _ in 0..count {
        entry.batches.push_back(BatchSeen {
            base_sequence: Sequence(body.get_i32()),
            last_sequence: Sequence(body.get_i32()),
            base_offset: Offset(body.get_i64()),
            last_offset: Offset(body.get_i64()),
            max_timestamp: Timestamp(body.get_i64()),
            leader_epoch: LeaderEpoch(body.get_i32()),
        });
    }
    Ok((producer, entry))
}
