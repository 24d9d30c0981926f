//! Links that break: who does not hear whom.

use crate::chance::Chance;
use crate::plan::{Fault, Time, What};
use crate::world::{CONTROLLER, Happening, World};

impl World {
    /// One broker loses one link, or all of them.
    pub(super) fn cut_off(&mut self, victim: usize, fault: &Fault, chance: &mut Chance) {
        self.counts.network_faults += 1;
        let peers: Vec<usize> = (0..self.brokers.len()).filter(|&other| other != victim).collect();
        let chosen = match fault.what {
            What::LoseController => vec![CONTROLLER],
            What::LosePeer => vec![peers[chance.below(peers.len() as u64) as usize]],
            _ => peers.into_iter().chain([CONTROLLER]).collect(),
        };
        for other in chosen {
            self.hold_link(victim, other, fault.lasts);
        }
    }

    /// Two do not hear each other for a while.
    pub fn hold_link(&mut self, one: usize, other: usize, duration: Time) {
        for (one, other) in [(one, other), (other, one)] {
            self.cut_links.insert((one, other));
            self.after(duration, Happening::LinkBack { one, other });
        }
        if other != CONTROLLER {
            self.break_connections(one, Some(other));
        }
    }

    pub fn link_back(&mut self, one: usize, other: usize) {
        if self.cut_links.remove(&(one, other)) && self.trace.is_on() {
            let name = |end: usize| match end {
                CONTROLLER => "the controller".to_owned(),
                broker => format!("broker {}", broker + 1),
            };
            let line = format!("{} hears {} again", name(other), name(one));
            self.say(format_args!("network"), format_args!("{line}"));
        }
    }

    /// What one sends does not reach another; the other way is open.
    pub(super) fn cut_one_way(&mut self, victim: usize, lasts: Time, chance: &mut Chance) {
        self.counts.network_faults += 1;
        let others: Vec<usize> = (0..self.brokers.len())
            .filter(|&other| other != victim)
            .chain([CONTROLLER])
            .collect();
        let other = others[chance.below(others.len() as u64) as usize];
        let (one, other) = match chance.per_mille(500) {
            true => (victim, other),
            false => (other, victim),
        };
        self.cut_links.insert((one, other));
        self.after(lasts, Happening::LinkBack { one, other });
    }

    /// Only neighbours hear each other.
    pub(super) fn stand_in_a_ring(&mut self, lasts: Time, chance: &mut Chance) {
        self.counts.network_faults += 1;
        let mut ring: Vec<usize> = (0..self.brokers.len()).chain([CONTROLLER]).collect();
        for place in (1..ring.len()).rev() {
            ring.swap(place, chance.below(place as u64 + 1) as usize);
        }
        for (place, &one) in ring.iter().enumerate() {
            for (behind, &other) in ring.iter().enumerate().skip(place + 2) {
                if (place, behind) != (0, ring.len() - 1) {
                    let (one, other) = (one.min(other), one.max(other));
                    self.hold_link(one, other, lasts);
                }
            }
        }
    }

    pub(super) fn storm(&mut self, lasts: Time) {
        self.counts.network_faults += 1;
        self.storm_until = self.storm_until.max(self.now + lasts);
    }

    /// Whether a request or an answer that leaves now is lost.
    pub fn is_lost_now(&mut self) -> bool {
        let per_mille = match self.now < self.storm_until {
            _ if self.healed_at.is_some() => 0,
            true => 250,
            false => 25,
        };
        self.chance.per_mille(per_mille)
    }

    /// Whether the connection on which something is sent now breaks.
    pub fn breaks_in_the_storm(&mut self) -> bool {
        self.healed_at.is_none() && self.now < self.storm_until && self.chance.per_mille(20)
    }

    /// One connection breaks.
    pub(super) fn reset(&mut self, chance: &mut Chance) {
        let open = self.network.unbroken();
        if !open.is_empty() {
            self.counts.network_faults += 1;
            let chosen = open[chance.below(open.len() as u64) as usize];
            self.break_connection(chosen);
        }
    }
}
