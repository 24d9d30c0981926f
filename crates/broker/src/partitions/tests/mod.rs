//! The data path as a whole: real logs on temporary directories, real gRPC on loopback, metadata made by hand.

mod faults;
mod full;
pub(crate) mod harness;
mod marks;
mod replicated;
mod single;
mod suspects;
mod unflushed;
