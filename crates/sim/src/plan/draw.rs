//! The weather of a seed: one fault after another, none of which knows what the others did.

use super::fault::{Fault, What, Whom};
use super::{MS, Plan, Time};
use crate::chance::Chance;

/// The faults of a seed in their order, for as long as somebody asks.
#[derive(Clone, Debug)]
pub struct Weather {
    chance: Chance,
    now: Time,
    interval: Time,
    brokers: usize,
    partitions: usize,
    weights: u64,
}

impl Weather {
    pub fn new(plan: &Plan) -> Weather {
        Weather {
            chance: Chance::new(plan.seed ^ 0x5eed_fa17),
            now: 0,
            interval: plan.setup.fault_interval,
            brokers: plan.setup.brokers,
            partitions: plan.setup.all_partitions(),
            weights: What::ALL.iter().map(|(_, weight)| weight).sum(),
        }
    }

    fn what(&mut self) -> What {
        let mut drawn = self.chance.below(self.weights);
        for &(what, weight) in What::ALL {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return what,
            }
        }
        What::Kill
    }

    /// A leader more often than chance would have it.
    fn whom(&mut self) -> Whom {
        if self.chance.per_mille(450) {
            Whom::LeaderOf(self.chance.below(self.partitions as u64) as usize)
        } else {
            Whom::Broker(self.chance.below(self.brokers as u64) as usize)
        }
    }

    fn lasts(&mut self, what: What) -> Time {
        match what {
            What::Kill | What::PowerCut | What::Blackout | What::LoseCaches => self.chance.delay(30 * MS, 500 * MS),
            What::Pause => self.chance.between(5 * MS, 900 * MS),
            What::Isolate | What::LoseController | What::LosePeer | What::OneWay | What::Ring => {
                self.chance.between(5 * MS, 700 * MS)
            }
            What::SilenceController | What::MoveController | What::Storm => self.chance.between(10 * MS, 200 * MS),
            What::FenceWrongly => self.chance.between(0, 60 * MS),
            What::PauseMember => self.chance.between(20 * MS, 900 * MS),
            What::MemberLeaves => self.chance.between(10 * MS, 300 * MS),
            What::StopInOrder => self.chance.delay(30 * MS, 300 * MS),
            What::HangDisk => self.chance.between(20 * MS, 1500 * MS),
            What::SlowDisk | What::FullDisk => self.chance.between(20 * MS, 800 * MS),
            What::BreakDisk => self.chance.between(10 * MS, 600 * MS),
            What::FailSync => self.chance.between(20 * MS, 150 * MS),
            What::Reset
            | What::LoseProposal
            | What::ElectPreferred
            | What::DeleteRecords
            | What::ChangeSetting
            | What::Ambush
            | What::FlipBit
            | What::ClockJump
            | What::KillMember => 0,
        }
    }
}

impl Iterator for Weather {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        self.now += self.chance.between(self.interval / 4, self.interval * 2);
        let what = self.what();
        let whom = match what {
            What::KillMember
            | What::PauseMember
            | What::MemberLeaves
            | What::Blackout
            | What::Reset
            | What::Ring
            | What::Storm
            | What::SilenceController
            | What::MoveController
            | What::LoseProposal
            | What::ElectPreferred
            | What::ChangeSetting => Whom::All,
            _ => self.whom(),
        };
        Some(Fault {
            at: self.now,
            what,
            whom,
            lasts: self.lasts(what),
            salt: self.chance.number() as u32,
        })
    }
}
