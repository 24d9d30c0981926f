//! Generates the messages and the table of APIs from `proto/kafka/*.kafka`, with nothing but the standard library.
//!
//! The parts are in `build/`: `model` (what a schema says), `parse` (the notation), `check` (what it must obey),
//! `emit_*` (Rust text). A mistake in a schema stops the build and names file and line.

#[path = "build/mod.rs"]
mod build;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    if let Err(message) = generate() {
        eprintln!("{message}");
        process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let folder = root.join("../../proto/kafka");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed={}", root.join("build").display());
    println!("cargo::rerun-if-changed={}", root.join("build.rs").display());

    let schema = read(&folder)?;
    build::check::check(&schema)?;

    let mut messages = String::new();
    let mut arbitrary = String::new();
    for message in &schema.messages {
        messages += &build::emit_struct::message(message);
        arbitrary += &build::emit_arbitrary::message(message);
    }
    arbitrary += &build::emit_arbitrary::list(&schema.messages);
    write(&out.join("messages.rs"), &messages)?;
    write(&out.join("responses.rs"), &build::emit_tree::responses(&schema.apis))?;
    write(&out.join("arbitrary.rs"), &arbitrary)?;
    write(&out.join("api_keys.rs"), &build::emit_api::api_keys(&schema.apis))
}

fn read(folder: &Path) -> Result<build::model::Schema, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("reading {}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "kafka"));
    paths.sort();
    let mut schema = build::model::Schema::default();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        build::parse::parse(&text, &mut schema)
            .map_err(|error| format!("{}:{}: {}", path.display(), error.line, error.text))?;
    }
    schema.apis.sort_by_key(|api| api.key);
    Ok(schema)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))
}
