//! The messages of the metadata log and of the controller's requests, generated from `proto/klamm/`.
//!
//! Nothing here decides anything and nothing here knows gRPC. The few helpers turn message fields into the words
//! of `klamm-types`, refusing what is malformed.

/// `proto/klamm/metadata.proto`: records, batches, snapshots.
#[allow(clippy::all, reason = "generated")]
pub mod metadata {
    include!(concat!(env!("OUT_DIR"), "/klamm.metadata.rs"));
}

/// `proto/klamm/requests.proto`: what brokers ask of the controller, and its replies.
#[allow(clippy::all, reason = "generated")]
pub mod requests {
    include!(concat!(env!("OUT_DIR"), "/klamm.requests.rs"));
}

mod words;

pub use prost::Message;
pub use prost::bytes::Bytes;
pub use words::{BadField, id_bytes, node_ids, uuid};
