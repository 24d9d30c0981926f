//! What a member of a group is: a process that calls, hears, crashes. One model per protocol.

use std::collections::{BTreeMap, BTreeSet};

use klamm_coordinator::{Call, Reply};
use klamm_types::{Offset, TopicId};

use super::{classic::Classic, consumer::Consumer};
use crate::chance::Chance;
use crate::plan::Time;

/// What a member knows of the world.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    pub now: Time,
    pub topic: TopicId,
    pub partitions: usize,
    /// Nothing happens any more without a reason.
    pub settled: bool,
}

/// What a member does when it wakes: calls, in this order on one connection, and whether it reads before.
#[derive(Default)]
pub struct Act {
    pub calls: Vec<Call>,
}

/// What became of a call; `None`: no answer came in time, or one that says nothing.
pub type Heard<'a> = Option<&'a Reply>;

/// In one epoch (a generation, or a member epoch) a partition belongs to one owner.
pub struct Claim {
    pub owner: String,
    pub epoch: i32,
    pub partitions: BTreeSet<i32>,
}

/// One process that belongs to the group. It sees the coordinator through its calls only.
pub trait Model: std::fmt::Debug {
    /// When it wants to act though it has heard nothing; `None` while it only waits.
    fn next_wake(&self) -> Option<Time>;

    fn wake(&mut self, around: Surroundings, chance: &mut Chance) -> Act;

    fn hear(&mut self, around: Surroundings, call: &Call, heard: Heard<'_>);

    /// The process dies, and another begins in its place.
    fn crash(&mut self, now: Time);

    /// It leaves the group and joins again later. It may say goodbye.
    fn leave(&mut self, again_at: Time) -> Option<Call>;

    /// What it takes for its own now; `None` if it is sure to own nothing.
    fn claim(&self) -> Option<Claim>;

    /// How far it has read what it owns.
    fn positions(&mut self) -> &mut BTreeMap<i32, i64>;
}

/// A member and its connection to the coordinator.
#[derive(Debug)]
pub struct Member {
    pub group: usize,
    pub model: Box<dyn Model>,
    pub paused_until: Time,
    /// Calls without an answer.
    pub open: BTreeMap<u64, OpenCall>,
    pub target: (usize, u32),
    pub last_arrival: Time,
    pub is_cut: bool,
    pub wake_set: Option<Time>,
}

/// A call, and what was committed when it was made.
#[derive(Debug)]
pub struct OpenCall {
    pub call: Call,
    pub due: BTreeMap<i32, Offset>,
    /// Of a commit: the least that the member has asked to commit since, by partition. Answers come in any order.
    pub overtaken: BTreeMap<i32, Offset>,
}

impl Member {
    /// Asks for a commit: those on their way are older.
    pub fn overtakes(&mut self, partition: i32, offset: Offset) {
        for open in self.open.values_mut() {
            let least = open.overtaken.entry(partition).or_insert(offset);
            *least = offset.min(*least);
        }
    }

    /// Groups take turns in which protocol their members speak.
    pub fn new(index: usize, group: usize, kind: usize, start: Time) -> Member {
        let name = format!("member-{index}");
        let model: Box<dyn Model> = match kind % 2 {
            0 => Box::new(Consumer::new(name, group_name(group), start)),
            _ => Box::new(Classic::new(name, group_name(group), start)),
        };
        Member {
            group,
            model,
            paused_until: 0,
            open: BTreeMap::new(),
            target: (0, 0),
            last_arrival: 0,
            is_cut: false,
            wake_set: None,
        }
    }
}

pub fn group_name(group: usize) -> String {
    format!("group-{group}")
}
