//! The shape of the project as tests: which crate may use which, how long files are, what the text may not say.
//!
//! The tables here are the ones in `docs/architecture.md`; changing them is a decision of its own.

mod arrows;
mod files;
mod licences;
