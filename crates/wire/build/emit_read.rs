//! The function that reads a struct.

use super::emit_struct::{condition, default_value, flexible, lifetime};
use super::model::{Field, Message, Struct, Type, field_name, snake};

pub fn function(message: &Message, found: &Struct) -> String {
    let (_, generics) = lifetime(message, found);
    let reader = if generics.is_empty() {
        "Reader<'_>"
    } else {
        "Reader<'a>"
    };
    let mut out = format!(
        "        #[allow(unused_variables)]\n        \
         pub(crate) fn read(reader: &mut {reader}, version: i16) -> Result<Self, DecodeError> {{\n"
    );
    out += &flexible(message, found);
    for field in &found.fields {
        out += &statement(found, field);
    }
    out += &tagged_section(message, found);
    let mut fields = Vec::new();
    for field in &found.fields {
        fields.push(format!("{}: {}", field_name(&field.name), variable(field)));
    }
    out += &format!("            Ok(Self {{ {} }})\n        }}\n", fields.join(", "));
    out
}

/// The variable that holds a field while the others are read. A field may be called `version` or `reader`.
fn variable(field: &Field) -> String {
    format!("read_{}", snake(&field.name))
}

/// Declares the field's variable: read if its version has it in the plain part, else the default.
fn statement(found: &Struct, field: &Field) -> String {
    let name = variable(field);
    if field.tag.is_some() {
        return format!("            let mut {name} = {};\n", default_value(field));
    }
    let value = value(field);
    match condition(field.versions, found.versions) {
        None => format!("            let {name} = {value};\n"),
        Some(condition) => format!(
            "            let {name} = if {condition} {{ {value} }} else {{ {} }};\n",
            default_value(field)
        ),
    }
}

/// The expression that reads the field in a version that has it.
fn value(field: &Field) -> String {
    let Some(nullable) = field.nullable else {
        return plain(&field.ty);
    };
    let null = nullable_value(field);
    match condition(nullable, field.versions) {
        None => null,
        Some(condition) => format!("if {condition} {{ {null} }} else {{ Some({}) }}", plain(&field.ty)),
    }
}

fn plain(ty: &Type) -> String {
    match ty {
        Type::Bool => "reader.bool()?".into(),
        Type::Int8 => "reader.i8()?".into(),
        Type::Int16 => "reader.i16()?".into(),
        Type::Uint16 => "reader.u16()?".into(),
        Type::Int32 => "reader.i32()?".into(),
        Type::Int64 => "reader.i64()?".into(),
        Type::Uuid => "reader.uuid()?".into(),
        Type::Struct(name) => format!("{name}::read(reader, version)?"),
        other => format!("reader.{}?", sized(other, "")),
    }
}

fn nullable_value(field: &Field) -> String {
    let Type::Struct(name) = &field.ty else {
        return format!("reader.{}?", sized(&field.ty, "nullable_"));
    };
    let place = if field.tag.is_some() { "Tagged" } else { "Plain" };
    format!(
        "if reader.struct_follows(StructPlace::{place})? {{ Some({name}::read(reader, version)?) }} else {{ None }}"
    )
}

/// The call that reads a type with a length before it.
fn sized(ty: &Type, prefix: &str) -> String {
    match ty {
        Type::String => format!("{prefix}string(flexible)"),
        Type::Bytes => format!("{prefix}bytes(flexible)"),
        Type::Array(item) => match &**item {
            Type::String => format!("{prefix}string_array(flexible)"),
            Type::Int8 => format!("{prefix}i8_array(flexible)"),
            Type::Int32 => format!("{prefix}i32_array(flexible)"),
            Type::Struct(name) => format!("{prefix}array(flexible, version, {name}::read)"),
            other => unreachable!("the parser lets no array of {other:?} through"),
        },
        other => unreachable!("{other:?} has no length"),
    }
}

fn tagged_section(message: &Message, found: &Struct) -> String {
    if message.flexible_from.is_none_or(|from| from > found.versions.max) {
        return String::new();
    }
    let mut arms = String::new();
    for field in &found.fields {
        let Some(tag) = field.tag else { continue };
        let guard = match condition(field.versions, found.versions) {
            Some(condition) => format!(" if {condition}"),
            None => String::new(),
        };
        arms += &format!(
            "                        {tag}{guard} => {{\n                            \
             {} = {};\n                            reader.end_tag(field)?;\n                        }}\n",
            variable(field),
            value(field)
        );
    }
    if arms.is_empty() {
        return "            if flexible {\n                reader.skip_tags()?;\n            }\n".into();
    }
    format!(
        "            if flexible {{\n                for _ in 0..reader.tag_count()? {{\n                    \
         let field = reader.begin_tag()?;\n                    match field.tag {{\n{arms}                        \
         _ => reader.skip_tag(field),\n                    }}\n                }}\n            }}\n"
    )
}
