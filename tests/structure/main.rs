//! The shape of the project as tests: which crate may use which, how long files and functions are, what the text may
//! not say, what may not be in what ships.
//!
//! The tables here are the ones in `docs/architecture.md`; changing them is a decision of its own.

mod arrows;
mod files;
mod functions;
mod licences;
mod planted;
