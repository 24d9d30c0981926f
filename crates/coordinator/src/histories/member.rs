//! What a member of a random history is: a process that calls, hears, crashes. One model per protocol.

use std::collections::BTreeSet;

use klamm_types::Moment;
use rand::rngs::StdRng;

use crate::call::Call;
use crate::reply::Reply;

/// One process that belongs to the group. It sees the coordinator through its calls only.
pub trait Member {
    /// When it wants to act though it has heard nothing; `None` while it only waits.
    fn next_wake(&self) -> Option<Moment>;

    /// It acts. The world loses, doubles and delays the calls as it likes, in this order on one connection.
    fn wake(&mut self, now: Moment, random: &mut StdRng) -> Act;

    /// What became of a call. Answers of calls that were given up do not arrive.
    fn hear(&mut self, now: Moment, call: &Call, answer: &Answer);

    /// The process dies, and another begins in its place.
    fn crash(&mut self, now: Moment);

    /// From now on it does nothing without a reason: what is left to do ends.
    fn settle(&mut self);

    /// It is told to stop, and will not wake any more. It may say goodbye.
    fn stop(&mut self) -> Option<Call>;

    /// What it takes for its own now; `None` if it is sure to own nothing.
    fn claim(&self) -> Option<Claim>;
}

/// What a member does when it wakes.
#[derive(Default)]
pub struct Act {
    pub calls: Vec<Call>,
    /// Records that it has processed, by partition and offset.
    pub processed: Vec<(i32, i64)>,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply(Reply),
    /// The shard was dropped meanwhile: the runtime answers in its place.
    NotCoordinator,
    /// None came in time.
    Lost,
}

/// In one epoch (a generation, or a member epoch) a partition belongs to one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The instance id of a static member, whatever its member id; the member id of others.
    pub owner: String,
    pub epoch: i32,
    pub partitions: BTreeSet<i32>,
}
