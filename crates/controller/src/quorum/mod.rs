//! The life of the quorum: how it is founded, joined, changed, watched and rebuilt.

pub mod backup;
pub mod bootstrap;
pub mod claim;
pub mod describe;
pub mod election;
pub mod maintenance;
pub mod recall;
pub mod recover;
pub mod voters;
