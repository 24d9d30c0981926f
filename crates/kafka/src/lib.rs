//! The Kafka front end: listeners, connections, and one file per API that translates between Kafka's messages and
//! the broker's words.
//!
//! It decides nothing that other brokers must agree on and keeps nothing across requests: the broker does, behind
//! [`klamm_broker::backend::Backend`]. Which APIs and versions are served is in [`advertised`].
//!
//! ```text
//!   socket ─► net: frames, order, memory ─► dispatch ─► api/<name>.rs ─► Backend
//! ```

pub mod advertised;
mod api;
mod auto_create;
mod context;
mod dispatch;
mod endpoints;
mod metrics;
mod net;
mod settings;
mod spans;
mod topics;

pub use metrics::Metrics;
pub use net::{BindError, Bound, BoundListener, Server};
pub use settings::{ListenerSettings, Settings};
