//! Consumer groups against a cluster: the one that `KLAMM_TEST_BOOTSTRAP` names, or Klamm in this process. Each test is
//! run for both group protocols where both can do it, and passed over where the cluster lacks the protocol.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod administration;
mod commits;
mod failover;
mod member;
mod rebalance;
mod statics;
#[path = "../cluster/support.rs"]
mod support;
