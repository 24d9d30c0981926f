//! Breaks a cluster of real processes and holds what happens against the promises.
//!
//! A fault is data ([`faults`]): whom it hits, and steps. [`run`] starts a load, carries the steps out, reads everything and
//! asks `klamm-verify` for the verdict; every run becomes a line of the record ([`Line`]), the record a page ([`page`]). It
//! only ever touches processes that it started, unless the user names commands that break and mend a cluster of theirs.

mod ask;
mod breakable_disk;
mod catalogue;
mod checklist;
mod cluster;
pub mod disk;
mod fault;
mod fleet;
mod ground;
mod harm;
mod ledger;
pub mod network;
mod page;
mod peer;
mod plan;
mod record;
mod run;
mod small_disk;
mod steps;
mod weather;

pub use catalogue::{chosen, faults};
pub use checklist::CHECKLIST;
pub use cluster::{Cluster, Foreign};
pub use fault::{Fault, Need, Shape, Step, Target};
pub use fleet::{Fleet, Member, Place, Program, Roles};
pub use ground::Ground;
pub use page::page;
pub use peer::Peer;
pub use record::{Line, Summary, summaries};
pub use run::{RunResult, run};
