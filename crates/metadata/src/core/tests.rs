//! Stories of one controller as scripts, and one random history.

mod harness;
mod random;
mod requests;
mod sessions;
