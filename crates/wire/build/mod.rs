//! The generator's parts, in the order in which a schema goes through them.

pub mod model;
pub mod parse;

pub mod check;

pub mod emit_api;
pub mod emit_arbitrary;
pub mod emit_errors;
pub mod emit_read;
pub mod emit_struct;
pub mod emit_tree;
pub mod emit_write;
