//! Breaks a cluster of real processes and holds what happens against the promises.
//!
//! A fault is data ([`FAULTS`]); [`run`] starts a load, strikes, waits for writes to come back, mends, reads everything
//! and asks `klamm-verify` for the verdict. It only ever touches processes that it started, unless
//! the user names commands that break and mend a cluster of theirs.

mod cluster;
pub mod disk;
mod fault;
mod fleet;
pub mod network;
mod nodes;
mod plan;
mod report;
mod run;

pub use cluster::{Cluster, Foreign};
pub use fault::{Blow, FAULTS, Fault, Target, by_name};
pub use fleet::{Fleet, Member, Roles};
pub use nodes::Nodes;
pub use report::{Summary, summary};
pub use run::{RunResult, run};
