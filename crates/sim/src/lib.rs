//! A cluster from one seed in one thread: the shipped replication core and the shipped log, on simulated disks, a
//! simulated network and simulated time, under the shipped decisions of the controller.
//!
//! One partition, three replicas, producers and readers. Brokers crash, lose power and disks, are stopped and cut off;
//! the network delays, repeats and breaks; the controller is silent or errs. After every step the invariants in
//! [`check`] must hold, and when the weather turns good everything must become whole again.
//!
//! What it does not do: the quorum under the metadata, real sockets and real files are exercised elsewhere.

mod ambush;
mod broker;
mod chance;
pub mod check;
mod clients;
mod controller;
mod describe;
mod faults;
mod healing;
mod network;
mod outbound;
mod plan;
mod process;
mod requests;
mod serving;
mod sessions;
mod settings;
mod shell;
mod shutdown;
mod streams;
mod trace;
mod watch;
mod world;

pub use plan::{Options, Switch};
pub use trace::Keep;
pub use world::{Counts, Outcome, run};

// For the tests as well as for the program: with the allocator of musl, which release builds use, a run takes twice as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
