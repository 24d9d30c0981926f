//! The group coordinator: what one partition of `__consumer_offsets` says about its groups, and how requests change it.
//!
//! Pure: no runtime, no I/O, no clock, no randomness; time and random bits arrive with the event, and maps are ordered.
//! The broker owns the partition's log, feeds this crate what it reads from it, appends what is decided here, and
//! answers callers when that is committed.
//!
//! ```text
//!  load:   record ──► Shard::replay            (every record of the partition, then Shard::start)
//!  serve:  event ──► Shard::decide ──► Decision { changes, replies, history }
//!                         │ &self         │
//!                         └───────────────┴──► Shard::apply (at append) ··· replies when the append is committed
//!          (Serving: rounds of decisions, and who waits for which append)
//! ```
//!
//! `decide` changes nothing. A [`Change`] is a [`Record`], which goes to the log, or a [`Transient`], which does not
//! survive a change of coordinator (who waits for which answer, which session ends when); `apply` is the only writer
//! of both. If the append is refused, or leadership is lost, the shard is dropped and loaded again.
//!
//! * [`call`] and [`reply`]: what clients ask, and what they hear, in owned words;
//! * [`record`]: what the partition holds, to and from bytes;
//! * [`change`] and [`draft`]: decisions in the making;
//! * [`topics`]: the topics of the cluster as groups see them;
//! * [`shard`]: the whole;
//! * [`loading`] and [`serving`]: how a shard goes with the log: what must be read first, and which answer waits for
//!   which append;
//! * [`group`]: what both kinds of group share; [`classic`] and [`consumer`]: their protocols;
//! * [`offsets`]: committed offsets;
//! * [`history`]: why a group did what it did.

pub mod call;
pub mod change;
pub mod classic;
pub mod consumer;
pub mod draft;
pub mod group;
#[cfg(test)]
mod histories;
pub mod history;
pub mod loading;
pub mod offsets;
pub mod record;
pub mod reply;
pub mod serving;
pub mod settings;
pub mod shard;
#[cfg(test)]
mod testing;
pub mod topics;

pub use call::{Call, CallId, Client};
pub use change::{Change, Transient};
pub use draft::Decision;
pub use loading::Loading;
pub use record::Record;
pub use reply::Reply;
pub use serving::Serving;
pub use settings::Settings;
pub use shard::{At, Event, Shard, TopicsAge};
pub use topics::Topics;
