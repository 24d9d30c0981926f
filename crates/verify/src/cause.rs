//! Why something changed, as the cluster itself tells it.

use std::time::Duration;

use serde::Serialize;

use crate::outage::as_millis;

/// A decision of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// When it was decided, by the cluster's clock, counted from the start of the run.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
    /// Of the topic under load; none if it concerns brokers or controllers.
    pub partitions: Vec<i32>,
    /// What changed, and why.
    pub text: String,
}
