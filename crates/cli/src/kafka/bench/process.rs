//! What the brokers' processes used meanwhile: CPU time and memory, from /proc.

use std::fmt;

use serde::Serialize;

/// CPU and memory of some processes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// Per 10^9 bytes of values.
    pub cpu_seconds_per_gigabyte: f64,
    /// Of one core, over all processes.
    pub cpu_percent: f64,
    /// The largest resident set of a process at the end, in MiB.
    pub rss_mib_max: f64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} CPU s ({:.2} per GB, {:.0} % of a core), largest RSS {:.0} MiB",
            self.cpu_seconds, self.cpu_seconds_per_gigabyte, self.cpu_percent, self.rss_mib_max
        )
    }
}

/// Processes and the CPU time that they had used at the start.
pub struct Watch {
    processes: Vec<(i32, f64)>,
}

impl Watch {
    pub fn start(pids: &[i32]) -> Watch {
        Watch {
            processes: pids.iter().map(|&pid| (pid, cpu_seconds(pid).unwrap_or(0.0))).collect(),
        }
    }

    /// `None` if nothing is watched, or a process has ended.
    pub fn usage(&self, bytes: u64, seconds: f64) -> Option<Usage> {
        if self.processes.is_empty() {
            return None;
        }
        let (mut used, mut largest) = (0.0, 0.0f64);
        for &(pid, before) in &self.processes {
            used += cpu_seconds(pid)? - before;
            largest = largest.max(rss_mib(pid)?);
        }
        Some(Usage {
            cpu_seconds: used,
            cpu_seconds_per_gigabyte: if bytes > 0 { used / (bytes as f64 / 1e9) } else { 0.0 },
            cpu_percent: if seconds > 0.0 { 100.0 * used / seconds } else { 0.0 },
            rss_mib_max: largest,
        })
    }
}

/// User and system time. The name in the file may hold spaces and brackets, so counting begins behind it.
fn cpu_seconds(pid: i32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn rss_mib(pid: i32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages as f64 * rustix::param::page_size() as f64 / f64::from(1 << 20))
}
