//! Properties of every message at every version: round trips, truncation, garbage, and the corpus with mutations.
//!
//! Each test prints its seed; `KLAMM_SEED=N` repeats or varies a run.

use std::path::PathBuf;

use bytes::Bytes;

use super::support::Source;
use super::{MESSAGES, TestedMessage, corpus_entry, fuzz_one, parse_corpus_entry};

fn seed() -> u64 {
    let seed = std::env::var("KLAMM_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(20_260_101);
    println!("KLAMM_SEED={seed}");
    seed
}

/// Every message at every version.
fn all() -> impl Iterator<Item = (&'static TestedMessage, i16)> {
    MESSAGES
        .iter()
        .flat_map(|message| (message.versions.min..=message.versions.max).map(move |version| (message, version)))
}

#[test]
fn every_version_of_every_message_round_trips() {
    let mut source = Source::new(seed());
    for (message, version) in all() {
        for _ in 0..100 {
            (message.round_trip)(&mut source, version);
        }
    }
}

#[test]
fn truncated_messages_are_errors() {
    let mut source = Source::new(seed());
    for (message, version) in all() {
        let bytes = (message.arbitrary)(&mut source, version);
        // All prefixes of a short message, some hundred of a long one.
        let step = bytes.len() / 300 + 1;
        for length in (0..bytes.len()).step_by(step) {
            let prefix = bytes.slice(..length);
            let result = (message.decode)(&prefix, version);
            assert!(
                result.is_err(),
                "{} v{version}: {length} of {}",
                message.name,
                bytes.len()
            );
        }
    }
}

#[test]
fn surplus_bytes_are_left_over() {
    let mut source = Source::new(seed());
    for (message, version) in all() {
        let mut bytes = (message.arbitrary)(&mut source, version).to_vec();
        bytes.extend_from_slice(&[1, 0, 0]);
        assert_eq!(
            (message.decode)(&Bytes::from(bytes), version),
            Ok(3),
            "{} v{version}",
            message.name
        );
    }
}

#[test]
fn versions_that_are_not_known_are_errors() {
    let empty = Bytes::new();
    for message in MESSAGES {
        for version in [message.versions.min - 1, message.versions.max + 1, i16::MIN, i16::MAX] {
            let error = crate::DecodeError::UnknownVersion {
                message: message.name,
                version,
            };
            assert_eq!((message.decode)(&empty, version), Err(error));
        }
    }
}

#[test]
fn random_bytes_do_not_panic() {
    let mut source = Source::new(seed());
    for (message, version) in all() {
        for _ in 0..200 {
            let length = source.below(120);
            // Small numbers get further than random ones: they are lengths that can be true.
            let small = source.chance();
            let byte = |source: &mut Source| {
                if small {
                    source.below(4) as u8
                } else {
                    source.bits() as u8
                }
            };
            let bytes: Bytes = (0..length).map(|_| byte(&mut source)).collect();
            let _ = (message.decode)(&bytes, version);
        }
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn the_corpus_decodes() {
    let mut seen = Vec::new();
    for entry in corpus() {
        let (message, version, bytes) = parse_corpus_entry(&entry).unwrap();
        assert_eq!((message.decode)(&bytes, version), Ok(0), "{} v{version}", message.name);
        assert_eq!(corpus_entry(message, version, &bytes), entry);
        seen.push(message.name);
    }
    for message in MESSAGES {
        assert!(seen.contains(&message.name), "{} is not in the corpus", message.name);
    }
}

#[test]
fn mutated_corpus_does_not_panic() {
    let mut source = Source::new(seed());
    let rounds = std::env::var("KLAMM_ROUNDS").ok().and_then(|text| text.parse().ok());
    let corpus = corpus();
    let each = rounds.map_or(500, |rounds: usize| rounds.div_ceil(corpus.len()));
    println!("{} entries of the corpus, {each} mutations of each", corpus.len());
    for entry in corpus {
        let start = entry.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for _ in 0..each {
            let mut mutant = entry.clone();
            for _ in 0..=source.below(3) {
                mutate(&mut source, &mut mutant, start);
            }
            fuzz_one(&mutant);
        }
    }
}

/// Changes, inserts or removes a few bytes after `start`.
fn mutate(source: &mut Source, entry: &mut Vec<u8>, start: usize) {
    let length = entry.len() - start;
    if length == 0 {
        entry.push(source.bits() as u8);
        return;
    }
    let place = start + source.below(length);
    match source.below(6) {
        0 => entry[place] = source.bits() as u8,
        1 => entry[place] ^= 1 << source.below(8),
        2 => entry.insert(place, source.bits() as u8),
        3 => drop(entry.remove(place)),
        4 => entry.truncate(place),
        // A length at the edge of its type.
        _ => {
            let edges: [&[u8]; 4] = [
                &[0x7f, 0xff, 0xff, 0xff],
                &[0x80, 0, 0, 0],
                &[0xff; 5],
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
            ];
            let edge = edges[source.below(edges.len())];
            let end = (place + edge.len()).min(entry.len());
            entry.splice(place..end, edge.iter().copied());
        }
    }
}
