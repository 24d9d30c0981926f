//! Tests of the decisions: tables of errors, scripts, and one long random history.

mod configs;
mod create_topics;
mod history;
mod placement;
mod registration;
pub(crate) mod script;
mod scripts;
mod scripts_of_loss;
mod topics;
