//! The gRPC services between nodes, generated from `proto/klamm/`: one module per package; and the one by which spans go
//! to a collector, from `proto/opentelemetry/`. Nothing else is here; converting to and from our own types is the
//! business of the crates that serve or call.

#![allow(clippy::all, clippy::too_many_lines, clippy::unwrap_used)]

mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::klamm::*;
pub use generated::opentelemetry::proto::collector::trace::v1 as otlp;
