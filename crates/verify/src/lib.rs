//! Does a cluster keep its word? Workloads with unique values, a history of what was sent and read, and the checks.
//!
//! It speaks to any cluster of the Kafka protocol, through [`klamm_client`]. `klamm demo` and all fault tests take
//! their verdict from here, so there is one place that says what lost, doubled and reordered mean.

mod anomaly;
mod check;
mod gap;
mod history;
mod judge;
mod value;
#[cfg(any())]
mod workload;

pub use anomaly::{Anomaly, Audience, Findings, Kind, Reader};
pub use check::{Verdict, check};
pub use gap::{Gap, GapSummary, longest_gap, summarize};
pub use history::{History, Outcome, PartitionHistory, Read, Sent};
pub use judge::{Audiences, Event, Judge, Limits, Totals};
pub use value::Value;
#[cfg(any())]
pub use workload::{Load, Progress, Workload, WorkloadError};
