//! For tests: a constructor per struct that fills the fields of a version with arbitrary values, and a list of all
//! messages.

use super::emit_struct::{condition, default_value};
use super::model::{Field, Kind, Message, Struct, Type, field_name, snake};

/// The constructors of one message.
pub fn message(message: &Message) -> String {
    let module = snake(&message.name);
    let mut out = format!("\nmod {module} {{\n    use super::support::*;\n    use crate::{module}::*;\n");
    for found in &message.structs {
        out += &constructor(message, found);
    }
    out + "}\n"
}

fn constructor(message: &Message, found: &Struct) -> String {
    let generics = if message.borrows(&found.name) { "<'static>" } else { "" };
    let mut out = format!(
        "\n    impl {name}{generics} {{\n        #[allow(unused_variables)]\n        \
         pub(crate) fn arbitrary(source: &mut Source, version: i16) -> Self {{\n            Self {{\n",
        name = found.name
    );
    for field in &found.fields {
        let value = match condition(field.versions, found.versions) {
            None => value(field),
            Some(condition) => format!(
                "if {condition} {{ {} }} else {{ {} }}",
                value(field),
                default_value(field)
            ),
        };
        out += &format!("                {}: {value},\n", field_name(&field.name));
    }
    out + "            }\n        }\n    }\n"
}

fn value(field: &Field) -> String {
    let plain = plain(&field.ty);
    let Some(nullable) = field.nullable else {
        return plain;
    };
    match condition(nullable, field.versions) {
        None => format!("if source.chance() {{ None }} else {{ Some({plain}) }}"),
        Some(condition) => format!("if ({condition}) && source.chance() {{ None }} else {{ Some({plain}) }}"),
    }
}

fn plain(ty: &Type) -> String {
    match ty {
        Type::Bool => "source.chance()".into(),
        Type::Int8 => "source.number() as i8".into(),
        Type::Int16 => "source.number() as i16".into(),
        Type::Uint16 => "source.number() as u16".into(),
        Type::Int32 => "source.number() as i32".into(),
        Type::Int64 => "source.number()".into(),
        Type::Uuid => "source.uuid()".into(),
        Type::String => "source.string()".into(),
        Type::Bytes => "source.bytes()".into(),
        Type::Struct(name) => format!("{name}::arbitrary(source, version)"),
        Type::Array(item) => format!("(0..source.count()).map(|_| {}).collect()", plain(item)),
    }
}

/// The list of all messages, for tests that go through them.
pub fn list(messages: &[Message]) -> String {
    let mut out = String::from("\npub static MESSAGES: &[TestedMessage] = &[\n");
    for message in messages {
        let number = match message.kind {
            Kind::Request(number) | Kind::Response(number) => format!("Some({number})"),
            _ => "None".into(),
        };
        out += &format!("    tested!({}, {}, {number}),\n", snake(&message.name), message.name);
    }
    out + "];\n"
}
