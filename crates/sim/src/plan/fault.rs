//! A fault as a value: what goes wrong, with whom, when and for how long. It can be printed, read back and left out.

use std::fmt;
use std::str::FromStr;

use super::{MS, Time};
use crate::chance::Chance;

macro_rules! whats {
    ($($variant:ident $name:literal $weight:literal $doc:literal)*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum What {
            $(#[doc = $doc] $variant,)*
        }

        impl What {
            /// Each with its share of the weather.
            pub const ALL: &[(What, u64)] = &[$((What::$variant, $weight)),*];

            pub fn name(self) -> &'static str {
                match self {
                    $(What::$variant => $name,)*
                }
            }
        }
    };
}

whats! {
    Kill "kill" 14 "A process ends where it stands; what it has written stays in the machine's memory."
    PowerCut "power-cut" 12 "A machine dies: what is not flushed may be gone, or torn."
    Blackout "blackout" 3 "All machines die at once."
    Pause "pause" 10 "A process is stopped (SIGSTOP) and goes on later."
    Isolate "isolate" 4 "A broker hears nobody, and nobody hears it."
    LoseController "lose-controller" 3 "A broker and the controllers do not hear each other."
    LosePeer "lose-peer" 4 "Two brokers do not hear each other."
    OneWay "one-way" 5 "What one broker sends to another one, or to the controllers, is lost; the other way is open."
    Ring "ring" 2 "Brokers and controllers stand in a ring, and only neighbours hear each other."
    Storm "storm" 4 "Every link loses, delays and repeats, and connections break."
    Reset "reset" 7 "One connection between brokers breaks."
    SilenceController "silence-controller" 4 "The active controller is stopped, and another one is elected."
    MoveController "move-controller" 3 "Another controller is elected, and the one before does not know it yet."
    LoseProposal "lose-proposal" 3 "What becomes of the next metadata entry nobody can say."
    FenceWrongly "fence-wrongly" 5 "A broker that lives is taken for dead."
    ElectPreferred "elect-preferred" 4 "The preferred replicas are put back in the lead."
    DeleteRecords "delete-records" 3 "Old committed records are deleted."
    StopInOrder "stop-in-order" 4 "A broker is told to stop (SIGTERM)."
    ChangeSetting "change-setting" 5 "A setting of the topic changes."
    Ambush "ambush" 8 "Faults that follow each other so that what was said in an old epoch meets a new one."
    SlowDisk "slow-disk" 2 "Everything on a disk takes long."
    HangDisk "hang-disk" 3 "A write does not end for long; the process lives on otherwise."
    FullDisk "full-disk" 3 "A disk has no room: a write finds none, or the broker takes nothing in time."
    BreakDisk "break-disk" 3 "A disk answers with errors from some operation on, and is replaced by an empty one."
    FailSync "fail-sync" 2 "A flush fails, once; the process is started again on that disk, and then its machine dies."
    FlipBit "flip-bit" 2 "A bit of a flushed batch turns over on a disk, or a few bytes become zeros."
    LoseCaches "lose-caches" 3 "A process dies, and files that can be made anew are gone when it starts."
    KillMember "kill-member" 3 "A member of a group dies, and another begins in its place."
    PauseMember "pause-member" 3 "A member of a group is stopped and goes on later."
    MemberLeaves "member-leaves" 2 "A member says goodbye and comes back later."
    ClockJump "clock-jump" 3 "A machine's wall clock jumps, by up to an hour."
}

/// With whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Nobody in particular.
    All,
    Broker(usize),
    /// Whoever leads this partition when it happens.
    LeaderOf(usize),
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Time,
    pub what: What,
    pub whom: Whom,
    /// Until it is mended, where there is something to mend.
    pub lasts: Time,
    /// What is left to chance in it.
    pub salt: u32,
}

impl Fault {
    /// The chance of this fault alone: leaving out another one changes nothing in it.
    pub fn chance(&self) -> Chance {
        Chance::new(u64::from(self.salt) | 1 << 40)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::All => f.write_str("all"),
            Whom::Broker(broker) => write!(f, "broker:{}", broker + 1),
            Whom::LeaderOf(partition) => write!(f, "leader:{partition}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Time| format!("{}.{:03}", time / MS, time % MS);
        let (at, lasts) = (ms(self.at), ms(self.lasts));
        write!(
            f,
            "at {at} {} {} for {lasts} salt {:x}",
            self.what, self.whom, self.salt
        )
    }
}

/// A line that says no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoFault(pub String);

impl FromStr for Whom {
    type Err = NoFault;

    fn from_str(text: &str) -> Result<Whom, NoFault> {
        let no = || NoFault(format!("{text} is nobody"));
        if text == "all" {
            return Ok(Whom::All);
        }
        let (kind, number) = text.split_once(':').ok_or_else(no)?;
        let number: usize = number.parse().map_err(|_| no())?;
        match kind {
            "broker" => number.checked_sub(1).map(Whom::Broker).ok_or_else(no),
            "leader" => Ok(Whom::LeaderOf(number)),
            _ => Err(no()),
        }
    }
}

fn time(text: &str) -> Option<Time> {
    let (whole, part) = text.split_once('.')?;
    let part = part.get(..3).filter(|_| part.len() == 3)?;
    Some(whole.parse::<Time>().ok()? * MS + part.parse::<Time>().ok()?)
}

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(line: &str) -> Result<Fault, NoFault> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let no = || NoFault(format!("no fault: {line}"));
        let ["at", at, what, whom, "for", lasts, "salt", salt] = words[..] else {
            return Err(no());
        };
        let named = What::ALL.iter().find(|(one, _)| one.name() == what);
        Ok(Fault {
            at: time(at).ok_or_else(no)?,
            what: named.ok_or_else(no)?.0,
            whom: whom.parse()?,
            lasts: time(lasts).ok_or_else(no)?,
            salt: u32::from_str_radix(salt, 16).map_err(|_| no())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_back_as_it_was_printed() {
        for (number, &(what, _)) in What::ALL.iter().enumerate() {
            let fault = Fault {
                at: 1_234_567,
                what,
                whom: [Whom::All, Whom::Broker(2), Whom::LeaderOf(1)][number % 3],
                lasts: 80_001,
                salt: 0x9f3a,
            };
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert!("at 1.000 kill somebody for 0.000 salt 0".parse::<Fault>().is_err());
    }
}
