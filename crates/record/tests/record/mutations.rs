//! Damaged batches never panic, never loop and never allocate without bound, whatever the damage.
//!
//! Starts from the files in `tests/corpus`, which the fuzz target starts from too, and goes through the same entry
//! function, so that it is run without a nightly compiler. A failure prints its seed; set `KLAMM_SEED` to replay it and
//! `KLAMM_ROUNDS` to go on for longer.

use std::path::Path;

use bytes::Bytes;
use klamm_record::{HEADER_SIZE, LOG_OVERHEAD, crc32c};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::exercise::exercise;

/// Mutations, unless `KLAMM_ROUNDS` says otherwise.
const ROUNDS: u64 = 20_000;

/// The number in an environment variable, if it is set.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
    )
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = [0x00, 0x7f, 0x80, 0xff][random.random_range(0..4)],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.random()),
            _ => {
                let end = (at + random.random_range(1..9)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    if random.random_bool(0.7) {
        heal(bytes);
    }
}

/// Makes length and checksum fit again, so that the damage lies behind them.
fn heal(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_SIZE {
        let length = (bytes.len() - LOG_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

#[test]
fn mutated_batches_are_refused_or_read() {
    let seed = number("KLAMM_SEED").unwrap_or_else(rand::random::<u64>);
    let rounds = number("KLAMM_ROUNDS").unwrap_or(ROUNDS);
    println!("KLAMM_SEED={seed} KLAMM_ROUNDS={rounds}");
    let corpus = corpus();
    assert!(corpus.len() >= 8, "the corpus is in the tree");
    let mut random = StdRng::seed_from_u64(seed);
    for original in &corpus {
        exercise(&Bytes::from(original.clone()));
    }
    for _ in 0..rounds {
        let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
        mutate(&mut random, &mut bytes);
        exercise(&Bytes::from(bytes));
    }
}

#[test]
fn every_prefix_is_refused_or_read() {
    for original in corpus() {
        let original = Bytes::from(original);
        for end in 0..original.len().min(2000) {
            exercise(&original.slice(..end));
        }
    }
}
