//! Tests of the log as a whole. What concerns one file only is tested there.

mod basics;
mod compaction;
mod disk_suite;
mod faults;
mod recovery;
mod retention;
pub(crate) mod support;
mod timestamps;
mod twin;
