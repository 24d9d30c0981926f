//! Generates the gRPC services of `proto/klamm/` and `proto/opentelemetry/`. The metadata records and requests in that folder belong to
//! `klamm-schema`; services refer to them there.

use std::path::{Path, PathBuf};

const FOLDER: &str = "../../proto";
const OF_SCHEMA: [&str; 2] = ["metadata.proto", "requests.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["klamm", "opentelemetry"] {
        let folder = Path::new(FOLDER).join(folder);
        println!("cargo:rerun-if-changed={}", folder.display());
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            println!("cargo:rerun-if-changed={}", path.display());
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".proto") && !OF_SCHEMA.contains(&name) {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [FOLDER])?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".klamm.metadata", "::klamm_schema::metadata")
        .extern_path(".klamm.requests", "::klamm_schema::requests")
        .include_file("packages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
