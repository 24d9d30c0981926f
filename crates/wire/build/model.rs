//! What a schema file says, in the generator's own terms: messages, their structs, their fields and versions.
//!
//! Versions are already narrowed: a field's versions lie within its struct's, a struct's within its message's.
//! Nothing here knows Rust text (`emit_*`) or the notation (`parse`).

/// Versions from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub fn contains(self, other: Versions) -> bool {
        self.min <= other.min && other.max <= self.max
    }
}

/// What role a message plays, with the number that belongs to it: API key or record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request(i16),
    Response(i16),
    RecordKey(i16),
    RecordValue(i16),
    Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Uuid,
    String,
    /// `bytes` and `records`: alike on the wire.
    Bytes,
    Struct(String),
    Array(Box<Type>),
}

#[derive(Clone, Debug)]
pub enum Default {
    /// Zero, false, empty, or the struct's own default.
    Natural,
    Null,
    Number(i64),
    True,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    pub nullable: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Default,
    /// Whether a value other than the default is dropped silently in versions that lack the field.
    pub ignorable: bool,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub name: String,
    pub kind: Kind,
    pub versions: Versions,
    pub flexible_from: Option<i16>,
    /// The message's own struct first.
    pub structs: Vec<Struct>,
}

#[derive(Clone, Debug)]
pub struct Api {
    pub name: String,
    pub key: i16,
    pub versions: Versions,
    pub flexible_from: Option<i16>,
    pub latest_unstable: bool,
    pub advertised_from: i16,
}

#[derive(Debug, Default)]
pub struct Schema {
    pub apis: Vec<Api>,
    pub messages: Vec<Message>,
}

impl Message {
    pub fn find(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|found| found.name == name)
    }

    /// Whether a struct borrows from the frame: only strings do, `Bytes` share it instead.
    pub fn borrows(&self, name: &str) -> bool {
        self.find(name)
            .is_some_and(|found| found.fields.iter().any(|field| self.type_borrows(&field.ty)))
    }

    fn type_borrows(&self, ty: &Type) -> bool {
        match ty {
            Type::String => true,
            Type::Array(item) => self.type_borrows(item),
            Type::Struct(name) => self.borrows(name),
            _ => false,
        }
    }
}

/// `FetchRequest` → `fetch_request`; `KRaft` is one word.
pub fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.replace("KRaft", "Kraft").chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// A field's name in Rust.
pub fn field_name(name: &str) -> String {
    let name = snake(name);
    if name == "type" { "r#type".into() } else { name }
}
