//! Spans: where the time of a request goes, sent to a collector by OTLP.
//!
//! A span is made only of what is sampled; everything else costs one question, which is answered from the thread's own
//! memory. A span that has ended goes into a bounded queue, and a task of its own sends the queue. A full queue drops
//! spans and counts them: a collector that is slow or absent never holds anything up.
//!
//! ```text
//!   Tracer::sample ─► Span ─► child spans          Span ends ─► queue (bounded) ─► exporter ─► collector
//!                       └► within(span, future): what runs in it finds the span by `current`
//! ```
//!
//! Nothing is decided by a span, and no pure crate knows of them.

mod ambient;
mod context;
mod export;
mod span;
mod tracer;

pub use ambient::{current, within};
pub use context::Context;
pub use span::{Kind, Parent, Span, Value};
pub use tracer::{Config, Counts, StartError, Tracer};
