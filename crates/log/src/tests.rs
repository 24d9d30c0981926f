//! Tests of the log as a whole. What concerns one file only is tested there.

mod basics;
mod disk_suite;
mod faults;
mod recovery;
mod retention;
mod support;
mod timestamps;
mod twin;
