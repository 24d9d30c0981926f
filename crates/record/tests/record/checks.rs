//! Every check refuses what it is there for, and names it.

use crate::common::{TwinBatch, TwinRecord};
use bytes::Bytes;
use klamm_record::*;
use klamm_types::{Offset, Timestamp};

fn record(timestamp: i64, key: Option<&[u8]>) -> TwinRecord {
    TwinRecord {
        timestamp,
        key: key.map(<[u8]>::to_vec),
        value: Some(b"value".to_vec()),
        headers: vec![],
    }
}

fn twin() -> TwinBatch {
    TwinBatch {
        base_offset: 0,
        leader_epoch: -1,
        attributes: 0,
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: 0,
        records: vec![record(100, Some(b"a")), record(90, None), record(120, Some(b"c"))],
    }
}

fn bytes() -> Vec<u8> {
    crate::common::encode(&twin(), &crate::common::encode_records(&twin()))
}

/// The batch with `field` written at `at` and a fitting checksum.
fn patched(at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = bytes();
    bytes[at..at + field.len()].copy_from_slice(field);
    let crc = crate::common::crc(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn check(bytes: Vec<u8>, rules: &CheckRules) -> Result<Checked, BatchError> {
    Batch::parse(Bytes::from(bytes))?.check(rules)
}

fn produced(bytes: Vec<u8>) -> BatchError {
    check(bytes, &CheckRules::produced()).expect_err("the batch is bad")
}

#[test]
fn lengths_and_magic() {
    assert_eq!(
        check(bytes(), &CheckRules::produced()),
        Ok(Checked {
            max_timestamp: Some(Timestamp(120))
        })
    );
    assert_eq!(
        produced(vec![]),
        BatchError::Truncated {
            needed: 61,
            available: 0
        }
    );
    let whole = bytes().len();
    assert_eq!(
        produced(bytes()[..whole - 1].to_vec()),
        BatchError::Truncated {
            needed: whole,
            available: whole - 1
        }
    );
    assert_eq!(
        produced([bytes(), vec![0; 3]].concat()),
        BatchError::TrailingBytes { count: 3 }
    );
    assert_eq!(
        produced(patched(8, &48i32.to_be_bytes())),
        BatchError::BadLength { batch_length: 48 }
    );
    assert_eq!(
        produced(patched(8, &(-1i32).to_be_bytes())),
        BatchError::BadLength { batch_length: -1 }
    );
    assert_eq!(produced(patched(16, &[1])), BatchError::UnsupportedMagic { magic: 1 });
    // A short message of an old format is told as such, not as truncated.
    assert_eq!(
        produced(patched(16, &[0])[..30].to_vec()),
        BatchError::UnsupportedMagic { magic: 0 }
    );
}

#[test]
fn headers() {
    let mut flipped = bytes();
    flipped[30] ^= 1;
    assert!(matches!(produced(flipped), BatchError::BadCrc { .. }));
    assert_eq!(
        produced(patched(0, &5i64.to_be_bytes())),
        BatchError::BaseOffsetNotZero { base_offset: Offset(5) }
    );
    let overflow = BatchError::BadOffsets {
        base_offset: Offset(i64::MAX - 2),
        last_offset_delta: 2,
    };
    assert_eq!(produced(patched(0, &(i64::MAX - 2).to_be_bytes())), overflow);
    assert_eq!(
        produced(patched(57, &4i32.to_be_bytes())),
        BatchError::BadCount {
            records_count: 4,
            last_offset_delta: 2
        }
    );
    assert_eq!(
        produced(patched(57, &0i32.to_be_bytes())),
        BatchError::BadCount {
            records_count: 0,
            last_offset_delta: 2
        }
    );
    let negative = check(patched(57, &(-1i32).to_be_bytes()), &CheckRules::stored());
    assert_eq!(
        negative,
        Err(BatchError::BadCount {
            records_count: -1,
            last_offset_delta: 2
        })
    );
    assert_eq!(
        check(patched(57, &0i32.to_be_bytes()), &CheckRules::stored()),
        Ok(Checked::default())
    );
    let sequence = BatchError::BadProducer {
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: -1,
    };
    assert_eq!(produced(patched(53, &(-1i32).to_be_bytes())), sequence);
    assert_eq!(produced(patched(21, &[0, 0x20])), BatchError::ControlNotAllowed);
    assert_eq!(
        produced(patched(21, &[0, 7])),
        BatchError::UnknownCompression { codec: 7 }
    );
}

#[test]
fn records() {
    let compacted = check(bytes(), &CheckRules::produced_compacted(1000));
    assert_eq!(compacted, Err(BatchError::KeyMissing { index: 1 }));
    let bounds = TimestampBounds {
        min: Timestamp(95),
        max: Timestamp(200),
    };
    let late = check(bytes(), &CheckRules::produced().within(bounds));
    assert_eq!(
        late,
        Err(BatchError::TimestampOutOfBounds {
            index: 1,
            timestamp: Timestamp(90)
        })
    );
    // The first record's length, one more than it is.
    let length = bytes()[61] + 2;
    assert!(matches!(
        produced(patched(61, &[length])),
        BatchError::BadRecord { index: 0, .. }
    ));
    assert!(matches!(
        produced(patched(61, &[1])),
        BatchError::BadRecord { index: 0, .. }
    ));
    // The first record's offset delta.
    assert_eq!(
        produced(patched(64, &[2])),
        BatchError::BadOffsetDelta { index: 0, found: 1 }
    );
    let mut longer = crate::common::encode_records(&twin());
    longer.push(0);
    assert_eq!(
        produced(crate::common::encode(&twin(), &longer)),
        BatchError::RecordsLeftOver { count: 1 }
    );
}

#[test]
fn bombs_are_bounded() {
    let zeros = vec![0u8; 8 << 20];
    for codec in Compression::ALL.into_iter().skip(1) {
        let bomb = compress(codec, CompressionLevel::Default, &zeros).unwrap();
        assert!(bomb.len() < zeros.len() / 20, "{codec}: {}", bomb.len());
        let refused = DecompressError::TooLarge {
            codec,
            size_max: 1 << 20,
        };
        assert_eq!(decompress(codec, &bomb, 1 << 20), Err(refused.clone()), "{codec}");
        assert_eq!(decompress(codec, &bomb, 8 << 20).unwrap(), zeros, "{codec}");
        let batch = TwinBatch {
            attributes: i16::from(codec.id()),
            ..twin()
        };
        let bytes = crate::common::encode(&batch, &bomb);
        let rules = CheckRules {
            keys: KeyRule::Optional,
            ..CheckRules::produced_compacted(1 << 20)
        };
        assert_eq!(check(bytes.clone(), &rules), Err(BatchError::Decompress(refused)));
        assert_eq!(
            check(bytes, &CheckRules::produced()),
            Ok(Checked::default()),
            "compressed records stay closed"
        );
    }
    // A raw snappy block may announce 4 GiB in five bytes.
    let announced = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(decompress(Compression::Snappy, &announced, usize::MAX).is_err());
}

#[test]
fn snappy_in_both_dresses() {
    let text = b"a text that repeats, a text that repeats, a text that repeats".repeat(2000);
    let framed = compress(Compression::Snappy, CompressionLevel::Default, &text).unwrap();
    assert_eq!(
        framed[..16],
        [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]
    );
    assert_eq!(decompress(Compression::Snappy, &framed, text.len()).unwrap(), text);
    let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, text.len()).unwrap(), text);
    assert!(decompress(Compression::Snappy, &framed[..framed.len() - 1], text.len()).is_err());
    assert!(decompress(Compression::Snappy, &framed[..10], text.len()).is_err());
}

#[test]
fn names_and_levels() {
    assert_eq!(Compression::from_name("zstd"), Some(Compression::Zstd));
    assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
    assert_eq!(
        (Compression::from_name("brotli"), Compression::from_id(5)),
        (None, None)
    );
    for codec in Compression::ALL {
        for level in [
            CompressionLevel::Level(-5),
            CompressionLevel::Level(1),
            CompressionLevel::Level(99),
        ] {
            let data = compress(codec, level, b"some bytes").unwrap();
            assert_eq!(decompress(codec, &data, 10).unwrap(), b"some bytes");
        }
    }
}
