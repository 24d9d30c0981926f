//! The versions that this program reads and writes: of records, and of the features finalized for the cluster.
//!
//! A controller writes only records of the finalized level; a node that meets what it does not know stops.

use crate::image::Image;

/// The only version of records so far.
pub const RECORD_VERSION: u32 = 1;

/// The feature whose level says which records may be in the log.
pub const METADATA_LEVEL: &str = "klamm.metadata.level";

/// The lowest level that this program can run at.
pub const METADATA_LEVEL_MIN: u32 = 1;

/// From this level on the image keeps a history, snapshots hold it, and controllers record that they took over.
pub const HISTORY_LEVEL: u32 = 2;

/// The highest level that this program knows; what a new cluster starts with.
pub const METADATA_LEVEL_MAX: u32 = 2;

/// A feature that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min_level: u32,
    pub max_level: u32,
}

/// Every feature, with the levels known here. Brokers register with this table.
pub const FEATURES: &[Feature] = &[Feature {
    name: METADATA_LEVEL,
    min_level: METADATA_LEVEL_MIN,
    max_level: METADATA_LEVEL_MAX,
}];

impl Image {
    /// The finalized metadata level; 0 before the first controller has written it.
    pub fn metadata_level(&self) -> u32 {
        self.features().get(METADATA_LEVEL).copied().unwrap_or(0)
    }

    /// Whether the cluster's level is one at which histories are kept.
    pub fn keeps_history(&self) -> bool {
        self.metadata_level() >= HISTORY_LEVEL
    }
}
