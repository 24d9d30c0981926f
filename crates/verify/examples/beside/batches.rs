//! Record batches to send: good ones, and good ones with one thing wrong.

use bytes::{BufMut, Bytes, BytesMut};
use klamm_record::{BatchBuilder, BatchOptions, Compression, ProducerStamp, crc32c};
use klamm_types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The timestamp of the first record of every batch here; the next ones follow by 10 ms.
pub const TIME: i64 = 1_700_000_000_000;

/// Places in a batch.
pub const LENGTH: usize = 8;
pub const MAGIC: usize = 16;
const CRC: usize = 17;
pub const ATTRIBUTES: usize = 21;
pub const LAST_OFFSET_DELTA: usize = 23;
pub const BASE_TIMESTAMP: usize = 27;
pub const MAX_TIMESTAMP: usize = 35;
pub const PRODUCER_ID: usize = 43;
pub const BASE_SEQUENCE: usize = 53;
pub const RECORDS_COUNT: usize = 57;
pub const RECORDS: usize = 61;

fn build(options: BatchOptions, records: i32, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for number in 0..i64::from(records) {
        let key = format!("key-{number}");
        let time = Timestamp(TIME + 10 * number);
        builder
            .append(time, Some(key.as_bytes()), Some(value), &[])
            .expect("a small batch has room");
    }
    builder.build().expect("at least one record was appended").into_bytes()
}

/// An uncompressed batch of so many records.
pub fn plain(records: i32) -> Bytes {
    build(BatchOptions::default(), records, b"value")
}

/// One record whose value has so many bytes.
pub fn sized(value_bytes: usize) -> Bytes {
    build(BatchOptions::default(), 1, &vec![b'x'; value_bytes])
}

pub fn compressed(compression: Compression) -> Bytes {
    build(
        BatchOptions {
            compression,
            ..Default::default()
        },
        3,
        &[b'y'; 100],
    )
}

/// As an idempotent producer sends it.
pub fn idempotent(producer: i64, epoch: i16, sequence: i32, records: i32) -> Bytes {
    let producer = ProducerStamp {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
    };
    build(
        BatchOptions {
            producer,
            ..Default::default()
        },
        records,
        b"value",
    )
}

pub fn transactional(producer: i64) -> Bytes {
    let producer = ProducerStamp {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
    };
    build(
        BatchOptions {
            producer,
            transactional: true,
            ..Default::default()
        },
        1,
        b"value",
    )
}

/// Puts bytes somewhere into a batch and makes its CRC right again.
pub fn with(batch: &Bytes, place: usize, bytes: &[u8]) -> Bytes {
    let mut changed = BytesMut::from(&batch[..]);
    changed[place..place + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&changed[ATTRIBUTES..]);
    changed[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    changed.freeze()
}

/// Puts bytes somewhere into a batch and leaves its CRC as it was.
pub fn spoilt(batch: &Bytes, place: usize, bytes: &[u8]) -> Bytes {
    let mut changed = BytesMut::from(&batch[..]);
    changed[place..place + bytes.len()].copy_from_slice(bytes);
    changed.freeze()
}

/// A batch with bytes behind its records that belong to it.
pub fn with_rest(batch: &Bytes, rest: &[u8]) -> Bytes {
    let longer = [&batch[..], rest].concat().into();
    let length = (batch.len() + rest.len() - 12) as i32;
    with(&longer, LENGTH, &length.to_be_bytes())
}

/// One message of the formats before batches: magic 0, or 1 with a timestamp.
pub fn old_format(magic: u8) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(magic);
    body.put_u8(0);
    if magic == 1 {
        body.put_i64(TIME);
    }
    body.put_i32(3);
    body.put_slice(b"key");
    body.put_i32(5);
    body.put_slice(b"value");
    let mut message = BytesMut::new();
    message.put_i64(0);
    message.put_i32(body.len() as i32 + 4);
    message.put_u32(crc32(&body));
    message.put_slice(&body);
    message.freeze()
}

/// The CRC of the old formats.
fn crc32(bytes: &[u8]) -> u32 {
    let fold = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    };
    !bytes.iter().fold(u32::MAX, fold)
}

#[cfg(test)]
mod tests {
    use klamm_record::Batch;

    use super::*;

    #[test]
    fn changed_batches_have_a_right_crc_and_spoilt_ones_have_not() {
        let batch = plain(2);
        assert!(Batch::parse(with(&batch, MAX_TIMESTAMP, &[0; 8])).is_ok());
        let crc = crc32c(&spoilt(&batch, RECORDS, &[0x55])[ATTRIBUTES..]);
        assert_ne!(crc.to_be_bytes(), batch[CRC..ATTRIBUTES]);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
