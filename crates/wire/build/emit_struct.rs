//! A message's module: its structs, their defaults, and the traits that tie it to its API or record type.

use super::model::{Default, Field, Kind, Message, Struct, Type, Versions, field_name, snake};
use super::{emit_errors, emit_read, emit_tree, emit_write};

/// The module of one message, and its struct once more at the top.
pub fn message(message: &Message) -> String {
    let module = snake(&message.name);
    let mut out = format!(
        "\npub use {module}::{name};\n\n/// {about}\npub mod {module} {{\n    #![allow(unused_imports, clippy::all)]\n\n    \
         use crate::generated::*;\n",
        name = message.name,
        about = about(message),
    );
    for found in &message.structs {
        out += &definition(message, found);
        out += &default(message, found);
        let (lifetime, generics) = lifetime(message, found);
        out += &format!("\n    impl{lifetime} {}{generics} {{\n", found.name);
        out += &emit_read::function(message, found);
        out += &emit_write::function(message, found);
        out += &emit_tree::function(found);
        out += &emit_errors::function(message, found);
        out += "    }\n";
    }
    out += &traits(message);
    out += &emit_tree::implementation(message);
    out += "}\n";
    out
}

fn about(message: &Message) -> String {
    let kind = match message.kind {
        Kind::Request(key) => format!("Request of API {key}"),
        Kind::Response(key) => format!("Response of API {key}"),
        Kind::RecordKey(number) => format!("Record key of type {number}"),
        Kind::RecordValue(number) => format!("Value of records of type {number}"),
        Kind::Data => "Message".to_string(),
    };
    let Versions { min, max } = message.versions;
    let flexible = match message.flexible_from {
        Some(from) => format!("flexible from {from}"),
        None => "never flexible".to_string(),
    };
    format!("{kind}: versions {min} to {max}, {flexible}.")
}

/// `("<'a>", "<'a>")` for a struct that borrows, else empty.
pub fn lifetime(message: &Message, found: &Struct) -> (&'static str, &'static str) {
    if message.borrows(&found.name) {
        ("<'a>", "<'a>")
    } else {
        ("", "")
    }
}

fn definition(message: &Message, found: &Struct) -> String {
    // Kafka's own default for all fields lets Rust derive it.
    let derive_default = if found.fields.iter().all(natural) {
        ", Default"
    } else {
        ""
    };
    let (_, generics) = lifetime(message, found);
    let mut out = format!(
        "\n    #[derive(Clone, Debug, PartialEq, Eq{derive_default})]\n    pub struct {}{generics} {{\n",
        found.name
    );
    for field in &found.fields {
        if let Some(note) = note(found, field) {
            out += &format!("        /// {note}\n");
        }
        out += &format!(
            "        pub {}: {},\n",
            field_name(&field.name),
            rust_type(message, field)
        );
    }
    out + "    }\n"
}

/// Which versions have the field, if not all have.
fn note(found: &Struct, field: &Field) -> Option<String> {
    let mut parts = Vec::new();
    if field.versions != found.versions {
        parts.push(format!("In versions {}", show(field.versions, found.versions)));
    }
    if let Some(nullable) = field.nullable.filter(|nullable| *nullable != field.versions) {
        let start = if parts.is_empty() { "Nullable" } else { "nullable" };
        parts.push(format!("{start} in versions {}", show(nullable, found.versions)));
    }
    (!parts.is_empty()).then(|| parts.join(", ") + ".")
}

fn show(versions: Versions, parent: Versions) -> String {
    match versions {
        Versions { min, max } if max == parent.max => format!("{min} and above"),
        Versions { min, max } if min == max => format!("{min}"),
        Versions { min, max } => format!("{min} to {max}"),
    }
}

fn rust_type(message: &Message, field: &Field) -> String {
    let plain = plain_type(message, &field.ty);
    if field.nullable.is_some() {
        format!("Option<{plain}>")
    } else {
        plain
    }
}

fn plain_type(message: &Message, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int8 => "i8".into(),
        Type::Int16 => "i16".into(),
        Type::Uint16 => "u16".into(),
        Type::Int32 => "i32".into(),
        Type::Int64 => "i64".into(),
        Type::Uuid => "Uuid".into(),
        Type::String => "&'a str".into(),
        Type::Bytes => "Bytes".into(),
        Type::Struct(name) if message.borrows(name) => format!("{name}<'a>"),
        Type::Struct(name) => name.clone(),
        Type::Array(item) => format!("Vec<{}>", plain_type(message, item)),
    }
}

/// Whether Rust's default of the field's type is the protocol's.
fn natural(field: &Field) -> bool {
    match field.default {
        Default::Natural => field.nullable.is_none(),
        Default::Null => true,
        Default::Number(_) | Default::True => false,
    }
}

/// The default as a Rust expression.
pub fn default_value(field: &Field) -> String {
    let plain = match (&field.default, &field.ty) {
        (Default::Null, _) => return "None".into(),
        (Default::Number(value), _) => value.to_string(),
        (Default::True, _) => "true".into(),
        (Default::Natural, Type::Bool) => "false".into(),
        (Default::Natural, Type::Uuid) => "Uuid::ZERO".into(),
        (Default::Natural, Type::String) => "\"\"".into(),
        (Default::Natural, Type::Bytes) => "Bytes::new()".into(),
        (Default::Natural, Type::Struct(name)) => format!("{name}::default()"),
        (Default::Natural, Type::Array(_)) => "Vec::new()".into(),
        (Default::Natural, _) => "0".into(),
    };
    if field.nullable.is_some() {
        format!("Some({plain})")
    } else {
        plain
    }
}

fn default(message: &Message, found: &Struct) -> String {
    if found.fields.iter().all(natural) {
        return String::new();
    }
    let (lifetime, generics) = lifetime(message, found);
    let mut out = format!(
        "\n    impl{lifetime} Default for {}{generics} {{\n        fn default() -> Self {{\n            Self {{\n",
        found.name
    );
    for field in &found.fields {
        out += &format!(
            "                {}: {},\n",
            field_name(&field.name),
            default_value(field)
        );
    }
    out + "            }\n        }\n    }\n"
}

fn traits(message: &Message) -> String {
    let name = &message.name;
    let Versions { min, max } = message.versions;
    let (lifetime, generics) = lifetime(message, &message.structs[0]);
    let unknown = |error: &str| {
        format!(
            "            if !Self::VERSIONS.contains(version) {{\n                \
             return Err({error}::UnknownVersion {{ message: Self::NAME, version }});\n            }}\n"
        )
    };
    let mut out = format!(
        "\n    impl{lifetime} Encode for {name}{generics} {{\n        const NAME: &'static str = \"{name}\";\n        \
         const VERSIONS: VersionRange = VersionRange::new({min}, {max});\n\n        \
         fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {{\n{}            \
         self.write(writer, version)\n        }}\n    }}\n",
        unknown("EncodeError")
    );
    out += &format!(
        "\n    impl<'a> Decode<'a> for {name}{generics} {{\n        \
         fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {{\n{}            \
         Self::read(reader, version)\n        }}\n    }}\n",
        unknown("DecodeError")
    );
    out += &role(message, lifetime, generics);
    out
}

fn role(message: &Message, lifetime: &str, generics: &str) -> String {
    let name = &message.name;
    match message.kind {
        Kind::Request(_) => {
            let api = name.trim_end_matches("Request");
            format!(
                "\n    impl{lifetime} Request for {name}{generics} {{\n        const KEY: ApiKey = ApiKey::{api};\n        \
                 type Response<'r> = super::{}_response::{api}ResponseOf<'r>;\n    }}\n",
                snake(api)
            )
        }
        Kind::Response(_) => {
            let api = name.trim_end_matches("Response");
            let of = if generics.is_empty() {
                name.clone()
            } else {
                format!("{name}<'r>")
            };
            format!(
                "\n    /// The same type for responses that borrow and those that do not.\n    \
                 pub(crate) type {api}ResponseOf<'r> = {of};\n\
                 \n    impl{lifetime} Response for {name}{generics} {{\n        const KEY: ApiKey = ApiKey::{api};\n{}    }}\n",
                emit_errors::implementation(message),
            )
        }
        Kind::RecordKey(number) | Kind::RecordValue(number) => {
            let role = if matches!(message.kind, Kind::RecordKey(_)) {
                "RecordKey"
            } else {
                "RecordValue"
            };
            format!(
                "\n    impl{lifetime} {role} for {name}{generics} {{\n        const TYPE: i16 = {number};\n    }}\n"
            )
        }
        Kind::Data => String::new(),
    }
}

/// The Rust condition under which a field of these versions is there, within a struct of `parent`; `None`: always.
pub fn condition(versions: Versions, parent: Versions) -> Option<String> {
    let Versions { min, max } = versions;
    match (min > parent.min, max < parent.max) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {min}")),
        (false, true) => Some(format!("version <= {max}")),
        (true, true) if min == max => Some(format!("version == {min}")),
        (true, true) => Some(format!("({min}..={max}).contains(&version)")),
    }
}

/// Declares `flexible` if the struct has any use for it.
pub fn flexible(message: &Message, found: &Struct) -> String {
    match message.flexible_from {
        Some(from) if from <= found.versions.min => "            let flexible = true;\n".into(),
        Some(from) => format!("            let flexible = version >= {from};\n"),
        None => "            let flexible = false;\n".into(),
    }
}
