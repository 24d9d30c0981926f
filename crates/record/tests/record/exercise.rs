//! Everything that the crate does with bytes from outside, for the mutation test and the fuzz target alike.

use bytes::Bytes;
use klamm_record::*;
use klamm_types::{LeaderEpoch, Offset, Timestamp};

const SIZE_MAX: usize = 1 << 20;

/// Everything that the crate does with bytes from outside.
pub fn exercise(bytes: &Bytes) {
    let mut last = None;
    for batch in Batches::new(bytes.clone()).take(10_000) {
        let Ok(batch) = batch else { break };
        for rules in [
            CheckRules::produced(),
            CheckRules::stored(),
            CheckRules::produced_compacted(SIZE_MAX),
        ] {
            let _ = batch.check(&rules);
        }
        if let Ok(records) = batch.records(SIZE_MAX) {
            for record in records.flatten() {
                let _ = EndTxnMarker::from_record(&record);
                let _: usize = record.headers.iter().map(|header| header.key_text().len()).sum();
            }
        }
        let _ = recompress(batch.clone(), Compression::Lz4, CompressionLevel::Default, SIZE_MAX);
        last = Some(
            batch
                .assigned(Offset(i64::MAX), LeaderEpoch(1))
                .with_log_append_time(Timestamp(1)),
        );
    }
    if let Some(batch) = last {
        let _ = (batch.next_offset(), batch.header().last_sequence());
    }
    for id in 1..5 {
        let codec = Compression::from_id(id).expect("the four codecs");
        let out = decompress(codec, bytes, SIZE_MAX).unwrap_or_default();
        assert!(out.len() <= SIZE_MAX);
    }
}
