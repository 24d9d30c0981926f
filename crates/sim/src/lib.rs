//! A cluster from one seed in one thread: the shipped replication core, group coordinator and log, on simulated disks, a
//! simulated network and simulated time, under the shipped decisions of the controller.
//!
//! Three to five brokers, several partitions and one of `__consumer_offsets`, producers, readers and groups of both
//! protocols. Brokers crash, lose power and disks, are stopped and cut off; disks are slow, full and damaged; clocks drift
//! and jump; the network delays, loses and breaks; the controller is silent or errs; members come and go. What goes wrong is a list of values
//! that can be printed, shortened and given back ([`Plan`]). After every step the promises of `klamm-invariants` must
//! hold, and when the weather turns good everything must become whole again.
//!
//! What it does not do: the quorum under the metadata, real sockets and real files are exercised elsewhere.

mod broker;
mod chance;
mod clients;
mod metadata;
mod plan;
mod shrink;
mod weather;
mod world;

pub use plan::{Fault, Options, Plan, Switch, What};
pub use shrink::{Shrunk, shrink};
pub use world::{Counts, Keep, Outcome, Violation, run, run_plan};

// For the tests as well as for the program: with the allocator of musl, which release builds use, a run takes twice as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
