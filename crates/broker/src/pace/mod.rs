//! The pace of what can wait: replicas that catch up leave processors, network and disk to those that are waited for.

pub mod rounds;
pub mod turns;
