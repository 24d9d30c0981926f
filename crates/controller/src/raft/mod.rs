//! Our narrow door to openraft: its types as we instantiate them, and the state machine that applies entries.

pub mod allocations;
pub mod convert;
pub mod feed;
pub mod machine;
pub mod snapshot;
pub mod types;

pub use feed::{Feed, Next};
pub use machine::StateMachine;
