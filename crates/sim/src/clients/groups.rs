//! Groups: their members' calls on the way to the coordinator and back, what members read, and what must hold for it.

use std::collections::BTreeMap;

use klamm_coordinator::{Call, Reply};
use klamm_invariants::{Broken, CommittedOffsetsKept, Committer, GroupOwnership, OffsetsNeverSkipped};
use klamm_replication::Isolation;
use klamm_types::{ErrorCode, Offset};

use super::member::{Member, OpenCall, Surroundings, group_name};
use crate::broker::Place;
use crate::chance::Chance;
use crate::plan::{Fault, MS, Setup, Time, What};
use crate::world::{AtProcess, AtReplica, CallAsked, Happening, MemberAnswer, World};

/// What the members of one group have done, as somebody sees it who watches all of them.
#[derive(Debug, Default)]
pub struct GroupLedger {
    owners: GroupOwnership,
    reading: OffsetsNeverSkipped,
    offsets: CommittedOffsetsKept,
    /// The newest epoch that a member claims in.
    epoch: i32,
}

/// Members that a group has in every seed.
const MEMBERS: usize = 3;

pub fn draw_members(setup: &Setup, chance: &mut Chance) -> Vec<Member> {
    let count = setup.groups * MEMBERS;
    let start = |_| 20 * MS + chance.below(100 * MS);
    let starts: Vec<Time> = (0..count).map(start).collect();
    let member = |(index, start): (usize, Time)| {
        let group = index % setup.groups;
        Member::new(index, group, group + setup.partitions, start)
    };
    starts.into_iter().enumerate().map(member).collect()
}

impl World {
    pub fn begin_groups(&mut self) {
        for member in 0..self.members.len() {
            self.set_member_wake(member);
        }
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            now: self.now,
            topic: self.controller.partition(0).topic,
            partitions: self.plan.setup.partitions,
            settled: self.healed_at.is_some(),
        }
    }

    fn set_member_wake(&mut self, member: usize) {
        let known = &mut self.members[member];
        let Some(at) = known.model.next_wake() else {
            return;
        };
        let at = at.max(known.paused_until);
        if known.wake_set.is_none_or(|set| at < set) {
            known.wake_set = Some(at);
            self.at(at, Happening::MemberWakes { member });
        }
    }

    pub fn member_wakes(&mut self, member: usize) {
        let now = self.now;
        let known = &mut self.members[member];
        if known.wake_set.take_if(|set| *set <= now).is_none() {
            return;
        }
        if known.paused_until <= now && known.model.next_wake().is_some_and(|at| at <= now) {
            self.member_reads(member);
            let around = self.around();
            let act = self.members[member].model.wake(around, &mut self.chance);
            for call in act.calls {
                self.call_coordinator(member, call);
            }
        }
        self.set_member_wake(member);
    }

    /// Every member reads a little of what it owns.
    fn member_reads(&mut self, member: usize) {
        let group = self.members[member].group;
        let positions: Vec<(i32, i64)> = self.members[member].model.positions().clone().into_iter().collect();
        for (partition, position) in positions {
            let index = partition as usize;
            let kept_from = self.ledgers[index].front.deletable();
            let Some((from, next)) = self.readable(index, Offset(position)) else {
                continue;
            };
            if !self.has_lost_by_permission(index) {
                let read = self.groups[group].reading.read(partition, from, next, kept_from);
                self.hold(read.map_err(|broken| broken.at(group_name(group))));
            }
            self.members[member].model.positions().insert(partition, next.0);
        }
    }

    /// Some committed records behind a position, at whoever leads. A position out of range begins anew.
    fn readable(&mut self, partition: usize, position: Offset) -> Option<(Offset, Offset)> {
        let index = self.acting_leader(partition)?;
        let has_lost = self.has_lost_by_permission(partition);
        let mut process = self.brokers[index].process.take()?;
        let place = Place {
            broker: index,
            partition,
        };
        let read = process.here(place).and_then(|mut here| {
            let bound = here.own.replica.fetch_bound(Isolation::ReadUncommitted);
            let position = match has_lost && position > bound {
                true => bound,
                false => position.max(here.own.log.log_start_offset()),
            };
            if position >= bound {
                return Some((position, position));
            }
            let batches = self.read_for_client(&mut here, position, bound)?;
            // A position may lie inside the first batch; what lies between the two otherwise is passed over.
            let from = batches.first().map_or(position, klamm_record::Batch::base_offset);
            let next = batches.last().map_or(position, klamm_record::Batch::next_offset);
            Some((from.max(position), next))
        });
        self.brokers[index].process = Some(process);
        read
    }

    fn call_coordinator(&mut self, member: usize, call: Call) {
        let group = self.members[member].group;
        let mut due = BTreeMap::new();
        match &call {
            Call::CommitOffsets(commit) => {
                let by = Committer {
                    member: &commit.member,
                    epoch: commit.generation,
                };
                for asked in commit.topics.iter().flat_map(|topic| &topic.partitions) {
                    self.groups[group]
                        .offsets
                        .tried(asked.partition, Offset(asked.offset), by);
                    self.members[member].overtakes(asked.partition, Offset(asked.offset));
                }
            }
            Call::FetchOffsets(fetch) => {
                let partitions = fetch.topics.iter().flatten().flat_map(|topic| &topic.partitions);
                due = partitions.map(|&it| (it, self.groups[group].offsets.due(it))).collect();
            }
            _ => {}
        }
        self.attempts += 1;
        let attempt = self.attempts;
        let delay = self.chance.delay(200, 12 * MS);
        let lost = self.is_lost_now();
        let offsets = self.controller.offsets_partition();
        let known = &mut self.members[member];
        known.last_arrival = (self.now + delay).max(known.last_arrival + 1);
        known.is_cut |= lost;
        let ((broker, life), at) = (known.target, known.last_arrival);
        // A join waits for the other members.
        let patience = match &call {
            Call::Join(_) => 700 * MS,
            _ => 120 * MS,
        };
        known.open.insert(
            attempt,
            OpenCall {
                call: call.clone(),
                due,
                overtaken: BTreeMap::new(),
            },
        );
        if !known.is_cut {
            let asked = CallAsked { member, attempt, call };
            let what = AtProcess::Replica(offsets, AtReplica::Called(Box::new(asked)));
            self.at(at, Happening::Process { broker, life, what });
        }
        let answer = None;
        self.after(
            patience,
            Happening::MemberHears {
                member,
                attempt,
                answer,
            },
        );
    }

    pub fn member_hears(&mut self, member: usize, attempt: u64, answer: Option<Box<MemberAnswer>>) {
        let now = self.now;
        let known = &mut self.members[member];
        if known.paused_until > now {
            let at = known.paused_until;
            return self.at(
                at,
                Happening::MemberHears {
                    member,
                    attempt,
                    answer,
                },
            );
        }
        let Some(open) = known.open.remove(&attempt) else {
            return;
        };
        let reply = answer.as_ref().and_then(|answer| answer.result.as_ref().ok());
        let is_elsewhere = match (&answer, reply) {
            (None, _) | (Some(_), None) => true,
            (Some(_), Some(reply)) => says_not_coordinator(reply),
        };
        if let (Some(answer), Some(reply)) = (&answer, reply) {
            let checked = self.check_answer(member, &open, reply, answer.is_current);
            self.hold(checked.map_err(|broken| broken.at(group_name(self.members[member].group))));
        }
        if is_elsewhere {
            self.look_for_coordinator(member);
        }
        let around = self.around();
        self.members[member].model.hear(around, &open.call, reply);
        let claimed = self.check_claim(member);
        self.hold(claimed.map_err(|broken| broken.at(group_name(self.members[member].group))));
        self.set_member_wake(member);
    }

    fn look_for_coordinator(&mut self, member: usize) {
        let offsets = self.controller.offsets_partition();
        let target = self.guess_target(offsets);
        let life = self.brokers[target].life;
        let known = &mut self.members[member];
        known.target = (target, life);
        known.is_cut = false;
        known.last_arrival = 0;
    }

    /// What an answer says of committed offsets. One that comes from a coordinator that is deposed and does not know it
    /// may be old: records are read again then.
    fn check_answer(&mut self, member: usize, open: &OpenCall, reply: &Reply, is_current: bool) -> Result<(), Broken> {
        let group = self.members[member].group;
        if self.has_lost_by_permission(self.controller.offsets_partition()) {
            return Ok(());
        }
        match (&open.call, reply) {
            (Call::CommitOffsets(asked), Reply::CommitOffsets(told)) => {
                let asked = asked.topics.iter().flat_map(|topic| &topic.partitions);
                let told = told.iter().flat_map(|topic| &topic.partitions);
                for (asked, (_, error)) in asked.zip(told) {
                    if *error == ErrorCode::None {
                        self.counts.commits += 1;
                        let offset = Offset(asked.offset);
                        let least = open.overtaken.get(&asked.partition).copied().unwrap_or(offset);
                        self.groups[group]
                            .offsets
                            .acknowledged(asked.partition, offset.min(least));
                    }
                }
            }
            (Call::FetchOffsets(_), Reply::FetchOffsets(told)) => {
                for fetched in told.topics.iter().flat_map(|topic| &topic.partitions) {
                    if fetched.error == ErrorCode::None {
                        let due = open.due.get(&fetched.partition).filter(|_| is_current);
                        let due = due.copied().unwrap_or_default();
                        let told = Offset(fetched.offset.max(0));
                        self.groups[group].offsets.fetched(fetched.partition, told, due)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_claim(&mut self, member: usize) -> Result<(), Broken> {
        let Some(claim) = self.members[member].model.claim() else {
            return Ok(());
        };
        let group = &mut self.groups[self.members[member].group];
        self.counts.rebalances += u64::from(claim.epoch > group.epoch);
        group.epoch = group.epoch.max(claim.epoch);
        let by = Committer {
            member: &claim.owner,
            epoch: claim.epoch,
        };
        for &partition in &claim.partitions {
            group.owners.claimed(claim.epoch, partition, &claim.owner)?;
            group.offsets.owned(partition, by);
        }
        Ok(())
    }

    /// A member dies, sleeps or leaves.
    pub fn trouble_member(&mut self, fault: &Fault) {
        if self.members.is_empty() {
            return;
        }
        let member = fault.salt as usize % self.members.len();
        let (now, again_at) = (self.now, self.now + fault.lasts);
        self.counts.member_faults += 1;
        let known = &mut self.members[member];
        match fault.what {
            What::PauseMember => known.paused_until = known.paused_until.max(again_at),
            What::MemberLeaves => {
                let goodbye = known.model.leave(again_at);
                known.open.clear();
                if let Some(call) = goodbye {
                    self.call_coordinator(member, call);
                }
            }
            _ => {
                known.model.crash(now);
                known.open.clear();
            }
        }
        self.set_member_wake(member);
    }

    /// What the groups still have to do, once everything works.
    pub fn what_groups_lack(&self) -> Option<String> {
        (0..self.groups.len()).find_map(|group| {
            let mut owned = 0;
            for member in self.members.iter().filter(|member| member.group == group) {
                owned += member.model.claim().map_or(0, |claim| claim.partitions.len());
            }
            let due = self.plan.setup.partitions;
            if owned != due {
                return Some(format!(
                    "{}: its members own {owned} of {due} partitions",
                    group_name(group)
                ));
            }
            (0..due).find_map(|partition| {
                let end = self.ledgers[partition].committed_end();
                let reached = self.groups[group].reading.reached(partition as i32);
                let lacks = reached < end && !self.has_lost_by_permission(partition);
                lacks.then(|| {
                    format!(
                        "{} has read partition {partition} up to {reached}, of {end}",
                        group_name(group)
                    )
                })
            })
        })
    }
}

fn says_not_coordinator(reply: &Reply) -> bool {
    let error = match reply {
        Reply::Heartbeat(error) => *error,
        Reply::FetchOffsets(fetched) => fetched.error,
        _ => ErrorCode::None,
    };
    matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
}
