//! What visits the error codes of a response, wherever they stand in it.

use super::model::{Field, Kind, Message, Struct, Type, field_name};

const ERROR_CODE: &str = "ErrorCode";

/// The method of one struct; nothing for a struct without codes.
pub fn function(message: &Message, found: &Struct) -> String {
    if !matches!(message.kind, Kind::Response(_)) || !has_codes(message, found) {
        return String::new();
    }
    let mut out = "\n        pub(crate) fn visit_errors(&self, visit: &mut dyn FnMut(i16)) {\n".to_string();
    for field in &found.fields {
        out += &statement(message, field);
    }
    out + "        }\n"
}

/// The body of the trait's method.
pub fn implementation(message: &Message) -> String {
    let (argument, body) = if has_codes(message, &message.structs[0]) {
        ("visit", "self.visit_errors(visit);")
    } else {
        ("_", "")
    };
    format!("\n        fn each_error(&self, {argument}: &mut dyn FnMut(i16)) {{{body}}}\n")
}

fn statement(message: &Message, field: &Field) -> String {
    let name = field_name(&field.name);
    if is_code(field) {
        return format!("            visit(self.{name});\n");
    }
    let Some(inner) = inner(&field.ty).and_then(|name| message.find(name)) else {
        return String::new();
    };
    if !has_codes(message, inner) {
        return String::new();
    }
    match (field.nullable.is_some(), &field.ty) {
        (true, Type::Array(_)) => {
            format!("            for item in self.{name}.iter().flatten() {{ item.visit_errors(visit); }}\n")
        }
        (false, Type::Array(_)) | (true, _) => {
            format!("            for item in &self.{name} {{ item.visit_errors(visit); }}\n")
        }
        (false, _) => format!("            self.{name}.visit_errors(visit);\n"),
    }
}

fn has_codes(message: &Message, found: &Struct) -> bool {
    found.fields.iter().any(|field| {
        is_code(field)
            || inner(&field.ty)
                .and_then(|name| message.find(name))
                .is_some_and(|inner| has_codes(message, inner))
    })
}

fn is_code(field: &Field) -> bool {
    field.name == ERROR_CODE && field.ty == Type::Int16
}

/// The struct that a field is, or is an array of.
fn inner(ty: &Type) -> Option<&str> {
    match ty {
        Type::Struct(name) => Some(name),
        Type::Array(item) => inner(item),
        _ => None,
    }
}
