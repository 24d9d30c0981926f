//! The function that writes a struct.

use super::emit_struct::{condition, default_value, flexible};
use super::model::{Default, Field, Message, Struct, Type, field_name};

pub fn function(message: &Message, found: &Struct) -> String {
    let mut out = String::from(
        "\n        #[allow(unused_variables)]\n        \
         pub(crate) fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {\n",
    );
    out += &flexible(message, found);
    for field in &found.fields {
        out += &statement(message, found, field);
    }
    out += &tagged_section(message, found);
    out += "            Ok(())\n        }\n";
    out
}

/// Writes a field of the plain part, or checks that a field which the version lacks has its default.
fn statement(message: &Message, found: &Struct, field: &Field) -> String {
    let name = field_name(&field.name);
    let refusal = format!(
        "return Err(EncodeError::FieldNotInVersion {{ message: \"{}\", field: \"{}\", version }});",
        message.name, field.name
    );
    let condition = condition(field.versions, found.versions);
    let set = differs(field, &format!("self.{name}"));
    match (condition, field.tag, field.ignorable) {
        (None, None, _) => value(message, field),
        (None, Some(_), _) | (Some(_), Some(_), true) => String::new(),
        (Some(condition), Some(_), false) => {
            format!("            if !({condition}) && {set} {{\n                {refusal}\n            }}\n")
        }
        (Some(condition), None, true) => {
            format!(
                "            if {condition} {{\n    {}            }}\n",
                value(message, field)
            )
        }
        (Some(condition), None, false) => format!(
            "            if {condition} {{\n    {}            }} else if {set} {{\n                {refusal}\n            }}\n",
            value(message, field)
        ),
    }
}

/// Whether the field is not its default, as a Rust condition.
fn differs(field: &Field, path: &str) -> String {
    let nullable = field.nullable.is_some();
    match (&field.default, &field.ty) {
        (Default::Null, _) => format!("{path}.is_some()"),
        (_, Type::String) if nullable => format!("{path} != Some(\"\")"),
        (_, Type::Bytes | Type::Array(_)) if nullable => {
            format!("!matches!(&{path}, Some(value) if value.is_empty())")
        }
        (_, Type::String | Type::Bytes | Type::Array(_)) => format!("!{path}.is_empty()"),
        (Default::Natural, Type::Bool) => path.to_string(),
        (Default::True, Type::Bool) => format!("!{path}"),
        _ => format!("{path} != {}", default_value(field)),
    }
}

/// The statements that write the field in a version that has it.
fn value(message: &Message, field: &Field) -> String {
    let name = field_name(&field.name);
    let path = format!("self.{name}");
    let Some(nullable) = field.nullable else {
        return format!("            {};\n", plain(&field.ty, &path, false));
    };
    let null = nullable_value(field, &path);
    match condition(nullable, field.versions) {
        None => format!("            {null};\n"),
        Some(condition) => format!(
            "            if {condition} {{\n                {null};\n            }} else if let Some(value) = &{path} {{\n                \
             {};\n            }} else {{\n                \
             return Err(EncodeError::Null {{ message: \"{}\", field: \"{}\", version }});\n            }}\n",
            plain(&field.ty, "value", true),
            message.name,
            field.name
        ),
    }
}

/// The call that writes a value; `borrowed` says that `path` is a reference already.
fn plain(ty: &Type, path: &str, borrowed: bool) -> String {
    let reference = if borrowed { path.to_string() } else { format!("&{path}") };
    match ty {
        Type::Bool => format!("writer.bool({path})"),
        Type::Int8 => format!("writer.i8({path})"),
        Type::Int16 => format!("writer.i16({path})"),
        Type::Uint16 => format!("writer.u16({path})"),
        Type::Int32 => format!("writer.i32({path})"),
        Type::Int64 => format!("writer.i64({path})"),
        Type::Uuid => format!("writer.uuid({path})"),
        Type::String => format!("writer.string({path}, flexible)?"),
        Type::Bytes => format!("writer.bytes({reference}, flexible)?"),
        Type::Struct(_) => format!("{path}.write(writer, version)?"),
        Type::Array(item) => match &**item {
            Type::Struct(name) => format!("writer.array({reference}, flexible, version, {name}::write)?"),
            Type::String => format!("writer.string_array({reference}, flexible)?"),
            Type::Int8 => format!("writer.i8_array({reference}, flexible)?"),
            _ => format!("writer.i32_array({reference}, flexible)?"),
        },
    }
}

fn nullable_value(field: &Field, path: &str) -> String {
    match &field.ty {
        Type::String => format!("writer.nullable_string({path}, flexible)?"),
        Type::Bytes => format!("writer.nullable_bytes({path}.as_ref(), flexible)?"),
        Type::Array(item) => match &**item {
            Type::Struct(name) => {
                format!("writer.nullable_array({path}.as_deref(), flexible, version, {name}::write)?")
            }
            Type::String => format!("writer.nullable_string_array({path}.as_deref(), flexible)?"),
            _ => format!("writer.nullable_i32_array({path}.as_deref(), flexible)?"),
        },
        _ => {
            let place = if field.tag.is_some() { "Tagged" } else { "Plain" };
            format!(
                "writer.struct_follows({path}.is_some(), StructPlace::{place});\n            \
                 if let Some(value) = &{path} {{\n                value.write(writer, version)?;\n            }}"
            )
        }
    }
}

fn tagged_section(message: &Message, found: &Struct) -> String {
    if message.flexible_from.is_none_or(|from| from > found.versions.max) {
        return String::new();
    }
    let mut tagged: Vec<(&Field, u32)> = Vec::new();
    for field in &found.fields {
        tagged.extend(field.tag.map(|tag| (field, tag)));
    }
    tagged.sort_by_key(|(_, tag)| *tag);
    if tagged.is_empty() {
        return "            if flexible {\n                writer.uvarint(0);\n            }\n".into();
    }
    // The number of fields stands first, so each is asked once whether it is to be written.
    let mut out = String::from("            if flexible {\n");
    let mut count = Vec::new();
    for (field, tag) in &tagged {
        let set = differs(field, &format!("self.{}", field_name(&field.name)));
        let set = match condition(field.versions, found.versions) {
            Some(condition) => format!("{condition} && {set}"),
            None => set,
        };
        out += &format!("                let set_{tag} = {set};\n");
        count.push(format!("u32::from(set_{tag})"));
    }
    out += &format!("                writer.uvarint({});\n", count.join(" + "));
    for (field, tag) in &tagged {
        out += &format!(
            "                if set_{tag} {{\n                    let start = writer.begin_tag({tag});\n        {}                    \
             writer.end_tag(start)?;\n                }}\n",
            value(message, field)
        );
    }
    out + "            }\n"
}
