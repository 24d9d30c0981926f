//! Breaks a cluster of real processes and holds what happens against the promises.
//!
//! A fault is data ([`faults`]): whom it hits, and steps. [`run`] starts a load, carries the steps out, reads everything and
//! asks `klamm-verify` for the verdict; every run becomes a line of the record ([`Line`]), the record a page ([`page`]). It
//! only ever touches processes that it started, unless the user names commands that break and mend a cluster of theirs.

mod ask;
mod breakable_disk;
mod catalogue;
mod catch_up;
mod checklist;
mod client_process;
mod cluster;
pub mod disk;
mod fault;
mod fleet;
mod ground;
mod harm;
mod ledger;
mod loss;
mod member_process;
mod members;
pub mod network;
mod others;
mod owners;
mod page;
mod peer;
mod plan;
mod record;
mod run;
mod small_disk;
mod steps;
mod weather;
mod why;

pub use catalogue::{chosen, faults};
pub use checklist::CHECKLIST;
pub use client_process::{ClientArgs, run_client};
pub use cluster::{Cluster, Foreign};
pub use fault::{Act, Fault, Loss, Need, Shape, Step, Target};
pub use fleet::{Fleet, Member, Place, Program, Roles};
pub use ground::Ground;
pub use member_process::{MemberArgs, run_member};
pub use page::page;
pub use peer::Peer;
pub use record::{Line, Summary, summaries};
pub use run::{RunResult, run};
