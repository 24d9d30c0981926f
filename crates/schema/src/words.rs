//! Message fields as words of `klamm-types`, and back. No message is checked as a whole here.

use klamm_types::{NodeId, Uuid};
use prost::bytes::Bytes;

use crate::requests::controller_request::Request;

/// A field that cannot be what its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading the field {field}: {length} bytes instead of the 16 of an id")]
pub struct BadField {
    pub field: &'static str,
    pub length: usize,
}

/// The 16 bytes of an id. `T` is one of the id types of `klamm-types`, made from a [`Uuid`].
pub fn uuid(field: &'static str, bytes: &[u8]) -> Result<Uuid, BadField> {
    Uuid::from_slice(bytes).ok_or(BadField {
        field,
        length: bytes.len(),
    })
}

/// An id as a message holds it.
pub fn id_bytes(id: &[u8; 16]) -> Bytes {
    Bytes::copy_from_slice(id)
}

pub fn node_ids(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().map(|&id| NodeId(id)).collect()
}

impl Request {
    /// For another attempt, when nobody knows what became of the one before: what it wanted may be there already.
    pub fn tell_again(&mut self) {
        match self {
            Request::DeleteTopics(request) => request.again = true,
            Request::CreatePartitions(request) => request.again = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_bytes() {
        let id = Uuid::from_u128(7);
        assert_eq!(uuid("topic_id", &id_bytes(&id.0)), Ok(id));
        let error = uuid("topic_id", &[1, 2, 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading the field topic_id: 3 bytes instead of the 16 of an id"
        );
    }
}
