//! Does a cluster keep its word? Workloads with unique values, a history of what was sent and read, and the checks.
//!
//! It speaks to any cluster of the Kafka protocol, through [`klamm_client`]. `klamm verify`, `klamm demo` and all fault
//! tests take their verdict from here, so there is one place that says what lost, doubled and reordered mean.

mod anomaly;
mod cause;
mod changes;
mod check;
mod gap;
mod history;
mod judge;
mod latency;
mod mark;
mod monitor;
mod outage;
mod report;
mod timeline;
mod value;
mod workload;

pub use anomaly::{Anomaly, Audience, Findings, Kind, Reader};
pub use cause::Cause;
pub use changes::{Change, Changes, Standing};
pub use check::{Verdict, check};
pub use gap::{Gap, GapSummary, longest_gap, summarize};
pub use history::{History, Outcome, PartitionHistory, Read, Sent};
pub use judge::{Audiences, Ending, Event, Judge, Limits, Totals};
pub use latency::{Latencies, LatencySummary};
pub use mark::{Mark, MarkError};
pub use monitor::{Monitor, Snapshot};
pub use outage::{Outage, Outages};
pub use report::{Description, Report, Unavailability, to_html};
pub use timeline::{Bucket, Timeline};
pub use value::Value;
pub use workload::{Live, Load, Progress, Recorder, Run, WhenCut, Workload, WorkloadError};
