//! The functions that show a message as a tree of names and values, and the one that reads any response into a tree.

use super::emit_struct::lifetime;
use super::model::{Api, Field, Message, Struct, Type, field_name, snake};

pub fn function(found: &Struct) -> String {
    let mut fields = String::new();
    for field in &found.fields {
        fields += &format!("                (\"{}\", {}),\n", snake(&field.name), value(field));
    }
    format!(
        "        pub(crate) fn tree(&self) -> Tree {{\n            Tree::Fields(vec![\n{fields}            ])\n        }}\n"
    )
}

fn value(field: &Field) -> String {
    let path = format!("self.{}", field_name(&field.name));
    match field.nullable {
        None => plain(&field.ty, &path, "&"),
        Some(_) => format!(
            "{path}.as_ref().map_or(Tree::Null, |value| {})",
            plain(&field.ty, "value", "")
        ),
    }
}

/// The tree of what `path` names; `reference` makes a reference of it where one is needed.
fn plain(ty: &Type, path: &str, reference: &str) -> String {
    let place = if reference.is_empty() {
        format!("*{path}")
    } else {
        path.to_string()
    };
    match ty {
        Type::Bool => format!("Tree::Bool({place})"),
        Type::Int64 => format!("Tree::Number({place})"),
        Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 => format!("Tree::Number(i64::from({place}))"),
        Type::Uuid => format!("Tree::Uuid({place})"),
        Type::String => format!("Tree::Text({path}.to_string())"),
        Type::Bytes => format!("Tree::Bytes({path}.clone())"),
        Type::Struct(_) => format!("{path}.tree()"),
        Type::Array(item) => {
            format!(
                "Tree::List({path}.iter().map(|item| {}).collect())",
                plain(item, "item", "")
            )
        }
    }
}

/// A trait's worth of one message: only its own struct can be asked from outside.
pub fn implementation(message: &Message) -> String {
    let name = &message.name;
    let elided = message.find(name).map_or("", |found| match lifetime(message, found) {
        ("", _) => "",
        _ => "<'_>",
    });
    format!(
        "\n    impl ToTree for {name}{elided} {{\n        fn to_tree(&self) -> Tree {{\n            self.tree()\n        }}\n    }}\n"
    )
}

/// Reads a response of any API.
pub fn responses(apis: &[Api]) -> String {
    let mut arms = String::new();
    for api in apis {
        let (name, module) = (&api.name, snake(&format!("{}Response", api.name)));
        arms += &format!(
            "        ApiKey::{name} => crate::{module}::{name}Response::decode(reader, version)?.to_tree(),\n"
        );
    }
    format!(
        "/// Reads the response of an API as a tree and leaves the reader after it.\n\
         pub fn read_response(key: ApiKey, version: i16, reader: &mut Reader<'_>) -> Result<Tree, DecodeError> {{\n    \
         Ok(match key {{\n{arms}    }})\n}}\n"
    )
}
