//! Produce (0): batches that are wrong in one thing, topics' limits on batches, idempotent producers.

use bytes::Bytes;
use klamm_record::Compression;
use klamm_wire::ApiKey;

use super::produce::{part, request, send};
use crate::batches::{
    self, ATTRIBUTES, BASE_SEQUENCE, BASE_TIMESTAMP, LAST_OFFSET_DELTA, LENGTH, MAGIC, MAX_TIMESTAMP, PRODUCER_ID,
    RECORDS, RECORDS_COUNT, TIME, old_format, plain, spoilt, with, with_rest,
};
use crate::case::{ALL, Case, Cases};

pub fn cases() -> Vec<Case> {
    let mut list = bad_batches();
    list.extend(limits());
    list.extend(times());
    list.extend(sequences());
    list.extend(odd_sequences());
    list
}

/// Batches with one thing wrong, or odd.
fn odd_batches() -> Vec<(&'static str, Bytes)> {
    let (one, two) = (plain(1), plain(2));
    vec![
        ("no bytes", Bytes::new()),
        ("5 bytes", one.slice(..5)),
        ("a header cut off", one.slice(..40)),
        ("records cut off", one.slice(..one.len() - 3)),
        ("two batches", [&one[..], &two[..]].concat().into()),
        ("8 bytes behind the batch", [&one[..], &[0; 8]].concat().into()),
        ("20 bytes behind the batch", [&one[..], &[0; 20]].concat().into()),
        ("magic 0", old_format(0)),
        ("magic 1", old_format(1)),
        ("magic 3", spoilt(&one, MAGIC, &[3])),
        ("magic -1", spoilt(&one, MAGIC, &[0xff])),
        ("a wrong CRC", spoilt(&one, RECORDS, &[0x55])),
        ("length 0", spoilt(&one, LENGTH, &0_i32.to_be_bytes())),
        ("length 13", spoilt(&one, LENGTH, &13_i32.to_be_bytes())),
        ("length 48", spoilt(&one, LENGTH, &48_i32.to_be_bytes())),
        ("a negative length", spoilt(&one, LENGTH, &(-1_i32).to_be_bytes())),
        (
            "a length beyond the bytes",
            spoilt(&one, LENGTH, &1000_i32.to_be_bytes()),
        ),
        ("base offset 5", spoilt(&one, 0, &5_i64.to_be_bytes())),
        ("base offset -1", spoilt(&one, 0, &(-1_i64).to_be_bytes())),
        ("leader epoch 77", spoilt(&one, 12, &77_i32.to_be_bytes())),
        ("a control batch", with(&one, ATTRIBUTES, &0x20_i16.to_be_bytes())),
        ("unknown attributes", with(&one, ATTRIBUTES, &0x7f80_i16.to_be_bytes())),
        ("the LogAppendTime bit", with(&one, ATTRIBUTES, &8_i16.to_be_bytes())),
        ("a delete horizon", with(&one, ATTRIBUTES, &0x40_i16.to_be_bytes())),
    ]
}

/// Batches whose header says what cannot be, or what is odd.
fn odd_headers() -> Vec<(&'static str, Bytes)> {
    let (one, two) = (plain(1), plain(2));
    let mut batches = vec![
        ("a count of 0", with(&one, RECORDS_COUNT, &0_i32.to_be_bytes())),
        ("a negative count", with(&one, RECORDS_COUNT, &(-1_i32).to_be_bytes())),
        ("a count too high", with(&one, RECORDS_COUNT, &2_i32.to_be_bytes())),
        (
            "a last offset delta too high",
            with(&one, LAST_OFFSET_DELTA, &7_i32.to_be_bytes()),
        ),
        (
            "a negative last offset delta",
            with(&one, LAST_OFFSET_DELTA, &(-1_i32).to_be_bytes()),
        ),
        (
            "no timestamps",
            with(&with(&one, BASE_TIMESTAMP, &[0xff; 8]), MAX_TIMESTAMP, &[0xff; 8]),
        ),
        (
            "timestamps below -1",
            with(
                &with(&one, BASE_TIMESTAMP, &(-9_i64).to_be_bytes()),
                MAX_TIMESTAMP,
                &(-9_i64).to_be_bytes(),
            ),
        ),
        (
            "a maximal timestamp too high",
            with(&one, MAX_TIMESTAMP, &(TIME + 5000).to_be_bytes()),
        ),
        (
            "a maximal timestamp too low",
            with(&two, MAX_TIMESTAMP, &(TIME - 5000).to_be_bytes()),
        ),
        (
            "a producer id without a sequence",
            with(&one, PRODUCER_ID, &4_000_001_i64.to_be_bytes()),
        ),
        (
            "a sequence without a producer id",
            with(&one, BASE_SEQUENCE, &3_i32.to_be_bytes()),
        ),
        ("bytes behind the last record", with_rest(&one, &[0, 0])),
        ("a record that does not parse", with(&one, RECORDS, &[0x7e])),
    ];
    for (name, codec) in [("codec 5", 5_i16), ("codec 6", 6), ("codec 7", 7)] {
        batches.push((name, with(&one, ATTRIBUTES, &codec.to_be_bytes())));
    }
    batches
}

/// Batches whose header is right and whose records cannot be read.
fn unreadable_records() -> Vec<(String, Bytes)> {
    let one = plain(1);
    let mut batches = vec![("offset deltas".to_owned(), with(&one, RECORDS + 3, &[0x02]))];
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let compressed = batches::compressed(codec);
        let spoilt = with(&compressed, compressed.len() - 9, &[0x5a; 4]);
        batches.push((format!("spoilt {codec:?}"), spoilt));
        let attributes = i16::from(codec.id()).to_be_bytes();
        batches.push((format!("{codec:?} that is none"), with(&one, ATTRIBUTES, &attributes)));
    }
    batches
}

fn bad_batches() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    for (what, records) in unreadable_records() {
        cases.add(format!("unreadable records: {what}"), ALL, move |session, version| {
            let topic = session.topic_with(version, &[])?;
            send(session, version, &topic, "", records.clone())
        });
    }
    for (what, records) in odd_batches().into_iter().chain(odd_headers()) {
        cases.add(format!("a batch with {what}"), ALL, move |session, version| {
            let topic = session.topic(1)?;
            send(session, version, &topic, "", records.clone())?;
            session.to(2);
            send(session, version, &topic, "to a follower", records.clone())?;
            session.to(1);
            send(session, version, &topic, "the next offset", plain(1))
        });
    }
    cases.add("null instead of records", 12..=12, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let mut asked = part(0, Bytes::new());
        asked.records = None;
        session.ask(version, &request(&topic, -1, vec![asked]))?;
        Ok(())
    });
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        cases.add(format!("compressed by {codec:?}"), ALL, move |session, version| {
            let (topic, _) = session.shared("topic", 1)?;
            send(session, version, &topic, "", batches::compressed(codec))
        });
    }
    cases.list
}

/// What topics allow.
fn limits() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    cases.add("a batch above max.message.bytes", ALL, |session, version| {
        let topic = session.topic_with("small", &[("max.message.bytes", "200")])?;
        for size in [100, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 200] {
            send(
                session,
                version,
                &topic,
                &format!("a value of {size} bytes"),
                batches::sized(size),
            )?;
        }
        Ok(())
    });
    cases.add("a batch above the default limit", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        send(session, version, &topic, "", batches::sized(1_048_600))
    });
    cases.add("a batch above segment.bytes", ALL, |session, version| {
        let configs = [("segment.bytes", "1048576"), ("max.message.bytes", "4000000")];
        let topic = session.topic_with("segments", &configs)?;
        send(session, version, &topic, "", batches::sized(1_100_000))
    });
    for codec in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        cases.add(format!("compression.type {codec}"), ALL, move |session, version| {
            let topic = session.topic_with("compressed", &[("compression.type", codec)])?;
            send(session, version, &topic, "plain", plain(3))?;
            send(session, version, &topic, "gzip", batches::compressed(Compression::Gzip))
        });
    }
    cases.add("min.insync.replicas above the replicas", ALL, |session, version| {
        let topic = session.topic_with("strict", &[("min.insync.replicas", "5")])?;
        send(session, version, &topic, "", plain(1))
    });
    cases.list
}

fn times() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    let ahead = with(
        &with(&plain(1), BASE_TIMESTAMP, &4_000_000_000_000_i64.to_be_bytes()),
        MAX_TIMESTAMP,
        &4_000_000_000_000_i64.to_be_bytes(),
    );
    cases.add("records of the year 2096", ALL, move |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        send(session, version, &topic, "", ahead.clone())
    });
    cases.add(
        "records older than message.timestamp.before.max.ms",
        ALL,
        |session, version| {
            let topic = session.topic_with("young", &[("message.timestamp.before.max.ms", "1000")])?;
            send(session, version, &topic, "one", plain(1))?;
            send(session, version, &topic, "three", plain(3))?;
            send(
                session,
                version,
                &topic,
                "compressed",
                batches::compressed(Compression::Lz4),
            )
        },
    );
    cases.add("a topic with LogAppendTime", ALL, |session, version| {
        let topic = session.topic_with("append", &[("message.timestamp.type", "LogAppendTime")])?;
        session.ask(version, &request(&topic, -1, vec![part(0, plain(2))]))?;
        let bit = with(&plain(1), ATTRIBUTES, &8_i16.to_be_bytes());
        send(session, version, &topic, "the LogAppendTime bit", bit)
    });
    cases.list
}

fn sequences() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    cases.add("an idempotent producer", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let producer = 5_000_000 + i64::from(version);
        let steps = [
            ("the first", 0, 0, 2),
            ("the next", 0, 2, 1),
            ("the first again", 0, 0, 2),
            ("the second again", 0, 2, 1),
            ("a part of a batch again", 0, 0, 1),
            ("a gap", 0, 9, 1),
            ("an older sequence", 0, 1, 1),
            ("a new epoch, not from 0", 1, 4, 1),
            ("a new epoch", 1, 0, 1),
            ("the old epoch", 0, 3, 1),
            ("the old epoch, a duplicate", 0, 2, 1),
            ("two epochs on", 3, 0, 1),
            ("a duplicate in the new epoch", 3, 0, 1),
        ];
        for (what, epoch, sequence, records) in steps {
            send(
                session,
                version,
                &topic,
                what,
                batches::idempotent(producer, epoch, sequence, records),
            )?;
        }
        Ok(())
    });
    cases.add("duplicates of the last five batches", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let producer = 5_100_000 + i64::from(version);
        for sequence in 0..6 {
            send(
                session,
                version,
                &topic,
                "new",
                batches::idempotent(producer, 0, sequence, 1),
            )?;
        }
        for sequence in 0..6 {
            send(
                session,
                version,
                &topic,
                "again",
                batches::idempotent(producer, 0, sequence, 1),
            )?;
        }
        Ok(())
    });
    cases.list
}

fn odd_sequences() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Produce);
    cases.add("an unknown producer in the middle", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let producer = 5_200_000 + i64::from(version);
        send(
            session,
            version,
            &topic,
            "from 7",
            batches::idempotent(producer, 2, 7, 1),
        )?;
        send(
            session,
            version,
            &topic,
            "then 8",
            batches::idempotent(producer, 2, 8, 1),
        )?;
        send(
            session,
            version,
            &topic,
            "then 7 again",
            batches::idempotent(producer, 2, 7, 1),
        )
    });
    cases.add("sequences wrap around", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        let producer = 5_300_000 + i64::from(version);
        for (what, sequence, records) in [
            ("up to the last", i32::MAX - 1, 2),
            ("from 0", 0, 1),
            ("across", i32::MAX, 3),
        ] {
            let producer = if what == "across" { producer + 1000 } else { producer };
            send(
                session,
                version,
                &topic,
                what,
                batches::idempotent(producer, 0, sequence, records),
            )?;
        }
        send(
            session,
            version,
            &topic,
            "after across",
            batches::idempotent(producer + 1000, 0, 2, 1),
        )
    });
    cases.add("a producer's negative sequence", ALL, |session, version| {
        let (topic, _) = session.shared("topic", 1)?;
        send(session, version, &topic, "", batches::idempotent(5_400_000, 0, -2, 1))
    });
    cases.add("a producer's epoch -1", ALL, |session, version| {
        let topic = session.topic_with(version, &[])?;
        send(session, version, &topic, "", batches::idempotent(5_500_000, -1, 0, 1))
    });
    cases.list
}
