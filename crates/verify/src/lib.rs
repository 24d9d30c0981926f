//! Does a cluster keep its word? Workloads with unique values, a history of what was sent and read, and the checks.
//!
//! It speaks to any cluster of the Kafka protocol, through [`klamm_client`]. `klamm demo` and all fault tests take
//! their verdict from here, so there is one place that says what lost, doubled and reordered mean.

mod check;
mod gap;
mod history;
mod value;
mod workload;

pub use check::{Anomaly, Verdict, check};
pub use gap::{Gap, GapSummary, longest_gap, summarize};
pub use history::{History, Outcome, PartitionHistory, Read, Sent};
pub use value::Value;
pub use workload::{Load, Progress, Workload, WorkloadError};
