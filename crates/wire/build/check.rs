//! What a schema must obey for the generator to be right about it. Everything not checked here, the notation cannot say.

use std::collections::BTreeSet;

use super::model::{Default, Field, Message, Schema, Type, field_name};

pub fn check(schema: &Schema) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for message in &schema.messages {
        if !names.insert(&message.name) {
            return Err(format!("{} is defined twice", message.name));
        }
        for found in &message.structs {
            let place = format!("{}: {}", message.name, found.name);
            if found.fields.is_empty() && found.name != message.name {
                return Err(format!("{place} has no fields"));
            }
            let mut fields = BTreeSet::new();
            let mut tags = BTreeSet::new();
            for field in &found.fields {
                let place = format!("{place}: {}", field.name);
                if !fields.insert(field_name(&field.name)) {
                    return Err(format!("{place} is defined twice"));
                }
                if field.tag.is_some_and(|tag| !tags.insert(tag)) {
                    return Err(format!("{place} has a tag that another field has"));
                }
                check_field(message, field).map_err(|what| format!("{place} {what}"))?;
            }
            if tags.iter().enumerate().any(|(index, &tag)| index as u32 != tag) {
                return Err(format!("{place} has gaps between its tags"));
            }
        }
    }
    Ok(())
}

fn check_field(message: &Message, field: &Field) -> Result<(), &'static str> {
    if field.tag.is_some() {
        if message.flexible_from.is_none_or(|from| field.versions.min < from) {
            return Err("is tagged in versions without tagged fields");
        }
        if field.nullable.is_some_and(|nullable| nullable != field.versions) {
            return Err("is tagged and nullable in some versions only");
        }
    }
    let nullable_type = matches!(field.ty, Type::String | Type::Bytes | Type::Array(_) | Type::Struct(_));
    if field.nullable.is_some() && !nullable_type {
        return Err("is of a type that cannot be null");
    }
    let number = matches!(
        field.ty,
        Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64
    );
    match field.default {
        Default::Number(_) if !number => Err("has a number as default, but is none"),
        Default::True if field.ty != Type::Bool => Err("has true as default, but is no bool"),
        _ => Ok(()),
    }
}
