//! Partitions.
mod inbox;
