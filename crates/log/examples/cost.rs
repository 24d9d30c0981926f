//! What the log costs on this machine: appends with and without a flush each, group commit, and reads from memory and
//! from files. Run with `cargo run --release -p klamm-log --example cost [directory]`. It prints; it judges nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klamm_log::{Disk, Log, LogConfig, Read, RealDisk, RecoveryHint, disk::remove_dir_all};
use klamm_record::{Batch, BatchBuilder, BatchOptions};
use klamm_types::{LeaderEpoch, Offset, Timestamp};

const MIB: f64 = 1024.0 * 1024.0;

fn batch(size: usize) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![7; size.min(1024)];
    for _ in 0..size.div_ceil(1024) {
        builder
            .append(Timestamp(1), None, Some(&value), &[])
            .expect("an ordinary record");
    }
    builder.build().expect("an ordinary batch")
}

/// The pieces of work, one after another, each timed.
fn timed(mut work: impl FnMut(), count: usize) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times
}

fn report(what: &str, bytes: usize, times: &[Duration]) {
    let total: Duration = times.iter().sum();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "{what:<44} {:>9.0}/s {:>8.0} MiB/s   p50 {:>8.1} us   p99 {:>8.1} us",
        times.len() as f64 / total.as_secs_f64(),
        bytes as f64 / MIB / total.as_secs_f64(),
        at(0.5),
        at(0.99),
    );
}

struct Bench {
    log: Log,
    next: Offset,
}

impl Bench {
    fn open(dir: &std::path::Path, tail_bytes_max: usize) -> Bench {
        let config = LogConfig {
            tail_bytes_max,
            ..LogConfig::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (log, recovery) = Log::open(disk, dir, config, RecoveryHint::default()).expect("a log");
        Bench {
            log,
            next: recovery.log_end_offset,
        }
    }

    fn append(&mut self, batch: &Batch) {
        let stamped = batch.clone().assigned(self.next, LeaderEpoch(1));
        self.next = stamped.next_offset();
        self.log.append(&[stamped], Timestamp(1)).expect("an append");
    }

    fn append_runs(&mut self, size: usize, count: usize) {
        let one = batch(size);
        let times = timed(|| self.append(&one), count);
        report(&format!("append {size} B"), one.size() * count, &times);
    }

    fn flush_runs(&mut self, size: usize, group: usize, count: usize) {
        let one = batch(size);
        let mut syncs = 0;
        let work = || {
            (0..group).for_each(|_| self.append(&one));
            syncs += self.log.flush().expect("a flush");
        };
        let times = timed(work, count);
        report(
            &format!("{group} x append {size} B + flush ({syncs} syncs)"),
            one.size() * group * count,
            &times,
        );
    }

    fn read_runs(&self, what: &str, from: Offset, max_bytes: usize) {
        let (mut at, mut bytes, mut cold) = (from, 0, 0);
        let mut times = Vec::new();
        while at < self.next {
            let start = Instant::now();
            let read = match self.log.read(at, max_bytes, self.next).expect("a read") {
                Read::Ready(read) => read,
                Read::Cold(job) => {
                    cold += 1;
                    job.run().expect("a cold read")
                }
            };
            times.push(start.elapsed());
            bytes += read.size;
            at = read.next_offset;
        }
        times.sort();
        report(&format!("read {what}, {max_bytes} B ({cold} cold)"), bytes, &times);
    }
}

fn main() {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = root.join(format!("klamm-log-cost-{}", std::process::id()));
    let mut bench = Bench::open(&dir, 8 << 20);
    bench.append_runs(1 << 10, 100_000);
    bench.append_runs(16 << 10, 20_000);
    bench.append_runs(1 << 20, 512);
    bench.flush_runs(1 << 10, 1, 2000);
    bench.flush_runs(1 << 10, 100, 500);
    bench.flush_runs(1 << 20, 1, 200);
    let recent = bench.next;
    (0..4000).for_each(|_| bench.append(&batch(1 << 10)));
    bench.read_runs("the memory tail", recent, 64 << 10);
    bench.log.shrink_tail(0);
    bench.read_runs("files", Offset(0), 1 << 20);
    bench.read_runs("files", recent, 1);

    let point = bench.next;
    drop(bench);
    for (what, hint) in [
        (
            "open, last segment read through",
            RecoveryHint {
                recovery_point: Some(point),
                clean_stop: false,
            },
        ),
        ("open, all read through and written again", RecoveryHint::default()),
    ] {
        let start = Instant::now();
        let (mut log, _) = Log::open(Arc::new(RealDisk), &dir, LogConfig::default(), hint).expect("a log");
        let opened = start.elapsed();
        log.flush().expect("a flush");
        println!(
            "{what:<44} {:>9.1} ms, its first flush {:.1} ms, {} MiB",
            opened.as_secs_f64() * 1e3,
            (start.elapsed() - opened).as_secs_f64() * 1e3,
            log.size_bytes() >> 20
        );
    }
    remove_dir_all(&RealDisk, &dir, &mut || ()).expect("the directory can go");
}
