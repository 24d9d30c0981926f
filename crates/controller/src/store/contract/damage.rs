//! Damaged copies of a store's folder: each opens with everything that was acknowledged, or says that it is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Held, Twin, open, owner, reopened, work};
use crate::store::tests::copy_folder;

const OPERATIONS: usize = 80;
const TRIALS: u32 = 60;

#[derive(Debug)]
enum Damage {
    Flip { at: u64, bit: u8 },
    Zero { at: u64, bytes: usize },
    Cut { to: u64 },
    Remove,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

fn damage(path: &Path, used: u64, random: &mut SmallRng) -> Damage {
    let at = random.random_range(0..used.max(1));
    match random.random_range(0..8) {
        0..=2 => Damage::Flip {
            at,
            bit: random.random_range(0..8),
        },
        3 | 4 => Damage::Zero {
            at: at & !4095,
            bytes: 4096,
        },
        5 | 6 => Damage::Cut { to: at },
        _ if path.ends_with("db") => Damage::Cut { to: used * 3 / 4 },
        _ => Damage::Remove,
    }
}

fn harm(path: &Path, damage: &Damage) {
    let mut bytes = fs::read(path).unwrap();
    match *damage {
        Damage::Remove => return fs::remove_file(path).unwrap(),
        Damage::Cut { to } => bytes.truncate(to as usize),
        Damage::Flip { at, bit } => {
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Zero { at, bytes: count } => {
            let end = bytes.len().min(at as usize + count);
            bytes[at as usize..end].fill(0);
        }
    }
    fs::write(path, bytes).unwrap();
}

/// How much of the file holds anything.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |at| at as u64 + 1)
}

/// Before there was a mark of what was acknowledged, a database that was cut, or whose page was zeroed, came up with
/// less: sled takes that for the end of what was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn damage_is_never_a_shorter_log() {
    let seed = rand::random();
    let original = tempfile::tempdir().unwrap();
    {
        let mut log = open(original.path(), &owner(5)).unwrap().log;
        work(original.path(), &mut log, seed, OPERATIONS, |_| ()).await;
    }
    // Waits until the writer has closed it.
    let closed = reopened(original.path()).await;
    let mut twin = Twin::new(seed);
    twin.allows(&Held::default(), OPERATIONS, OPERATIONS);
    let whole = twin.states.pop().unwrap();
    assert_eq!(closed, Ok(whole.clone()), "seed {seed}: undamaged");
    let mut random = SmallRng::seed_from_u64(seed);
    let names: Vec<PathBuf> = files(original.path());
    let mut refused = 0;
    for _ in 0..TRIALS {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(original.path(), copy.path());
        // The database itself every other time.
        let path = match random.random_range(0..2) {
            0 => original.path().join("raft/db"),
            _ => names[random.random_range(0..names.len())].clone(),
        };
        let path = copy.path().join(path.strip_prefix(original.path()).unwrap());
        let damage = damage(&path, used(&path), &mut random);
        harm(&path, &damage);
        match reopened(copy.path()).await {
            Err(why) => {
                println!(
                    "{damage:?} of {}: {why}",
                    path.strip_prefix(copy.path()).unwrap().display()
                );
                refused += 1;
            }
            Ok(found) => assert!(
                found == whole,
                "seed {seed}: {damage:?} of {} came up with vote {:?}, {} of {} entries",
                path.display(),
                found.vote,
                found.entries.len(),
                whole.entries.len()
            ),
        }
    }
    assert!(refused > 0, "no damage mattered");
    println!("seed {seed}: {refused} of {TRIALS} damaged copies were refused");
}
