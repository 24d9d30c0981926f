//! A message as a tree of names and values: for whoever must look at every field of a message without knowing its type,
//! as comparisons and displays do.
//!
//! The trees are generated with the messages, so no field can be forgotten. Nothing is encoded from a tree.

use bytes::Bytes;
use klamm_types::Uuid;

use crate::api_key::ApiKey;
use crate::error::DecodeError;
use crate::message::Decode;
use crate::reader::Reader;

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    Null,
    Bool(bool),
    Number(i64),
    Uuid(Uuid),
    Text(String),
    Bytes(Bytes),
    List(Vec<Tree>),
    /// The fields of all versions, in the order of the definition; those that the version lacks have their defaults.
    Fields(Vec<(&'static str, Tree)>),
}

/// Can be shown as a tree.
pub trait ToTree {
    fn to_tree(&self) -> Tree;
}

impl Tree {
    /// The value of a field; `None` if this is no struct or has no such field.
    pub fn field(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Fields(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The items of an array, none for anything else.
    pub fn items(&self) -> &[Tree] {
        match self {
            Tree::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a number.
    pub fn number(&self) -> Option<i64> {
        match self {
            Tree::Number(number) => Some(*number),
            _ => None,
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/responses.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
    use crate::{Encode, ListOffsetsResponse};

    #[test]
    fn a_response_is_read_into_a_tree() {
        let partition = ListOffsetsPartitionResponse {
            error_code: 3,
            ..Default::default()
        };
        let topic = ListOffsetsTopicResponse {
            name: "orders",
            partitions: vec![partition],
        };
        let response = ListOffsetsResponse {
            throttle_time_ms: 5,
            topics: vec![topic],
        };
        let bytes = response.to_bytes(7).expect("fits version 7");
        let mut reader = Reader::new(&bytes);
        let tree = read_response(ApiKey::ListOffsets, 7, &mut reader).expect("was encoded above");
        let partition = Tree::Fields(vec![
            ("partition_index", Tree::Number(0)),
            ("error_code", Tree::Number(3)),
            ("timestamp", Tree::Number(-1)),
            ("offset", Tree::Number(-1)),
            ("leader_epoch", Tree::Number(-1)),
        ]);
        let topic = Tree::Fields(vec![
            ("name", Tree::Text("orders".into())),
            ("partitions", Tree::List(vec![partition.clone()])),
        ]);
        let expected = Tree::Fields(vec![
            ("throttle_time_ms", Tree::Number(5)),
            ("topics", Tree::List(vec![topic])),
        ]);
        assert_eq!(tree, expected);
        assert_eq!(reader.remaining(), 0);
        let found = tree.field("topics").map(|topics| topics.items()[0].clone());
        let found = found.and_then(|topic| topic.field("partitions").map(|all| all.items().to_vec()));
        assert_eq!(found, Some(vec![partition]));
        assert_eq!(tree.field("throttle_time_ms").and_then(Tree::number), Some(5));
    }
}
