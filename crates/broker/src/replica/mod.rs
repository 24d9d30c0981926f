//! Replica streams.
mod outbox;
