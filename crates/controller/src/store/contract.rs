//! The contract of the store, held against both databases: after a crash it opens with everything that it had
//! acknowledged, and with nothing but what it had been given, in that order; damage is noticed.
//!
//! The model crashes in virtual time. Sled crashes by `kill -9` of a process of its own, on a disk that forgets what was
//! not synced where one can be mounted, and by damage to copies of its folder.

mod damage;
mod processes;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{LogStore, open};
use crate::raft::snapshot::{self, State as MachineState};
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, Types, Vote};
use crate::simulated::{self, Loss, Planted, Simulation};
use crate::store::tests::owner;

/// Appends that may be under way at once.
const OPEN_MAX: usize = 4;

/// What the store holds, or should.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Op {
    Vote(Vote),
    Append(Vec<Entry>),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
}

/// A dumb twin of the store, which also thinks of what to do next.
struct Twin {
    random: SmallRng,
    term: u64,
    /// What is held after each operation; first, before any.
    states: Vec<Held>,
    truncations: Vec<bool>,
}

impl Twin {
    fn new(seed: u64) -> Twin {
        Twin {
            random: SmallRng::seed_from_u64(seed),
            term: 0,
            states: vec![Held::default()],
            truncations: vec![false],
        }
    }

    fn next(&mut self) -> Op {
        let mut held = self.states.last().expect("the first is there").clone();
        let last = held.entries.last().map(|entry| entry.log_id).or(held.purged);
        let kind = if self.term == 0 {
            0
        } else {
            self.random.random_range(0..10)
        };
        let op = match kind {
            0 => {
                self.term += 1;
                let vote = Vote {
                    leader_id: LeaderId::new(self.term, 1),
                    committed: true,
                };
                held.vote = Some(vote);
                Op::Vote(vote)
            }
            1 if held.entries.len() > 1 => {
                let keep = self.random.random_range(0..held.entries.len());
                held.entries.truncate(keep);
                Op::TruncateAfter(held.entries.last().map(|entry| entry.log_id).or(held.purged))
            }
            2 if held.entries.len() > 8 => {
                let gone = self.random.random_range(1..held.entries.len());
                let upto = held.entries[gone - 1].log_id;
                held.entries.drain(..gone);
                held.purged = Some(upto);
                Op::Purge(upto)
            }
            _ => {
                let next = last.map_or(0, |id| id.index + 1);
                let count = self.random.random_range(1..4);
                let entries: Vec<Entry> = (next..next + count).map(|index| self.entry(index)).collect();
                held.entries.extend(entries.iter().cloned());
                Op::Append(entries)
            }
        };
        self.truncations.push(matches!(op, Op::TruncateAfter(_)));
        self.states.push(held);
        op
    }

    fn entry(&mut self, index: u64) -> Entry {
        let size = match self.random.random_range(0..20) {
            0 => self.random.random_range(0..200_000),
            _ => self.random.random_range(0..500),
        };
        let leader_id = LeaderId::new(self.term, 1);
        let bytes = Bytes::from(vec![self.random.random(); size]);
        Entry {
            log_id: LogId { leader_id, index },
            payload: Payload::Normal(Command::Records(bytes)),
        }
    }

    /// Whether a store may hold this, of which `acknowledged` operations were acknowledged and `begun` begun.
    fn allows(&mut self, found: &Held, acknowledged: usize, begun: usize) -> bool {
        while self.states.len() <= begun {
            self.next();
        }
        let whole = self.states[acknowledged..=begun].contains(found);
        // A truncation goes from the end, in steps.
        let in_part = (acknowledged..begun).any(|before| {
            let (old, new) = (&self.states[before], &self.states[before + 1]);
            self.truncations[before + 1]
                && (&old.vote, &old.purged) == (&found.vote, &found.purged)
                && old.entries.starts_with(&found.entries)
                && found.entries.len() >= new.entries.len()
        });
        whole || in_part
    }
}

/// What is said while the work goes on, by the number of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Begun(usize),
    Acknowledged(usize),
}

/// Works on the store for so many operations, or until something ends it.
async fn work(folder: &Path, log: &mut LogStore, seed: u64, operations: usize, mut say: impl FnMut(Said)) {
    let mut twin = Twin::new(seed);
    let mut open_appends = VecDeque::new();
    for number in 1..=operations {
        let op = twin.next();
        say(Said::Begun(number));
        match op {
            Op::Append(entries) => {
                let (sender, flushed) = Types::oneshot();
                log.append(entries, IOFlushed::signal(sender)).await.unwrap();
                open_appends.push_back((number, flushed));
            }
            op => {
                carry_out(folder, log, op).await;
                // The store works in order.
                open_appends.clear();
                say(Said::Acknowledged(number));
            }
        }
        if open_appends.len() > OPEN_MAX
            && let Some((number, flushed)) = open_appends.pop_front()
        {
            flushed.await.unwrap().unwrap();
            say(Said::Acknowledged(number));
        }
    }
    for (number, flushed) in open_appends {
        flushed.await.unwrap().unwrap();
        say(Said::Acknowledged(number));
    }
}

async fn carry_out(folder: &Path, log: &mut LogStore, op: Op) {
    match op {
        Op::Vote(vote) => log.save_vote(&vote).await.unwrap(),
        Op::TruncateAfter(last) => log.truncate_after(last).await.unwrap(),
        Op::Purge(upto) => {
            let state = MachineState {
                applied: Some(upto),
                ..MachineState::default()
            };
            snapshot::write(folder, &state.encode()).unwrap();
            log.purge(upto).await.unwrap();
        }
        Op::Append(_) => unreachable!("appends are not awaited one by one"),
    }
}

/// What the store in `folder` holds now, or why it does not open.
async fn reopened(folder: &Path) -> Result<Held, String> {
    let opened = open(folder, &owner(6)).map_err(|error| error.to_string())?;
    if let Some(damage) = opened.damage {
        return Err(damage);
    }
    let mut log = opened.log;
    Ok(Held {
        vote: log.read_vote().await.unwrap(),
        purged: log.get_log_state().await.unwrap().last_purged_log_id,
        entries: log.try_get_log_entries(0..).await.map_err(|error| error.to_string())?,
    })
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Works on the model, crashes it at a moment of the seed, and opens it again.
fn crash_the_model(seed: u64, planted: Option<Planted>) -> Result<(), String> {
    let _simulation = Simulation::begin(seed, planted);
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let (mut acknowledged, mut begun) = (0, 0);
    paused().block_on(async {
        let mut log = open(folder.path(), &owner(5)).unwrap().log;
        let worked = work(folder.path(), &mut log, seed, 60, |said| match said {
            Said::Begun(number) => begun = number,
            Said::Acknowledged(number) => acknowledged = number,
        });
        let moment = Duration::from_millis(simulated::number::<u64>() % 150);
        // The end of the time is the crash.
        let _ = tokio::time::timeout(moment, worked).await;
    });
    simulated::crash(folder.path(), Loss::Some);
    let found = paused().block_on(reopened(folder.path()))?;
    match Twin::new(seed).allows(&found, acknowledged, begun) {
        true => Ok(()),
        false => Err(format!("acknowledged {acknowledged} of {begun}, found {found:?}")),
    }
}

#[test]
fn the_model_keeps_the_contract() {
    for seed in 0..200 {
        assert_eq!(crash_the_model(seed, None), Ok(()), "seed {seed}");
    }
}

/// The seeds that may go by before a planted bug breaks the contract five times.
const PATIENCE: usize = 500;

#[test]
fn planted_bugs_break_the_contract() {
    for bug in [
        Planted::VoteBeforeFlush,
        Planted::AppendBeforeFlush,
        Planted::PurgeBeforeSnapshot,
        Planted::TruncateFromStart,
    ] {
        let broken = (0..PATIENCE).filter(|seed| crash_the_model(*seed as u64, Some(bug)).is_err());
        let caught: Vec<usize> = broken.take(5).collect();
        println!("{bug:?}: seeds {caught:?}");
        assert_eq!(caught.len(), 5, "{bug:?} in {PATIENCE} seeds");
    }
}
