//! The controller's decisions: requests become records, records become the image, and one core says when to fence,
//! elect, propose and reply.
//!
//! Pure: no runtime, no I/O, no clock, no randomness; time and random bits arrive in events, and maps are ordered.
//! Raft, sockets and disks belong to the shell that drives [`core::Controller`].
//!
//! * [`image`]: the metadata as the applied entries leave it, its differences and its snapshots;
//! * [`history`]: why it came to be as it is;
//! * [`config`]: the settings of topics and cluster;
//! * [`feature`]: versions of records and features;
//! * [`decide`]: request over image → records and reply;
//! * [`core`]: the controller as one `step` function: sessions, probes, the overlay, one proposal in flight.

pub mod config;
pub mod core;
pub mod decide;
pub mod feature;
pub mod history;
pub mod image;

pub use image::Image;

use klamm_schema::metadata::MetadataRecord;
use klamm_schema::metadata::metadata_record::Record;

/// A record in the form of the finalized level.
pub(crate) fn record(record: Record) -> MetadataRecord {
    MetadataRecord {
        version: feature::RECORD_VERSION,
        record: Some(record),
    }
}
