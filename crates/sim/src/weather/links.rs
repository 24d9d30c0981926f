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
