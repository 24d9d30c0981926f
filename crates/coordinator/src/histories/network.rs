//! What is under way between members and the coordinator, and what becomes of it.

use std::collections::BTreeMap;

use klamm_types::Moment;

use super::member::Answer;
use crate::call::Call;

/// Something on its way.
#[derive(Clone, Debug)]
pub enum Letter {
    /// To the coordinator. A ticket names what the member waits for.
    Call { ticket: u64, call: Call },
    /// To the member that holds the ticket.
    Answer { ticket: u64, answer: Answer },
}

/// A call that a member waits for.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub member: usize,
    pub call: Call,
    pub gives_up: Moment,
}

/// Letters in order of their arrival, and who waits for what.
#[derive(Debug, Default)]
pub struct Network {
    letters: BTreeMap<(Moment, u64), Letter>,
    pub waiting: BTreeMap<u64, Waiting>,
    /// The last arrival of a letter per member and direction: a connection keeps the order.
    last: BTreeMap<(usize, bool), Moment>,
    number: u64,
}

impl Network {
    pub fn ticket(&mut self, waiting: Waiting) -> u64 {
        self.number += 1;
        self.waiting.insert(self.number, waiting);
        self.number
    }

    /// A letter that arrives not before the last one of the same member in the same direction.
    pub fn send(&mut self, member: usize, arrives: Moment, letter: Letter) {
        let last = self
            .last
            .entry((member, matches!(letter, Letter::Call { .. })))
            .or_default();
        let arrives = arrives.max(*last);
        *last = arrives;
        self.number += 1;
        self.letters.insert((arrives, self.number), letter);
    }

    pub fn next_arrival(&self) -> Option<Moment> {
        self.letters.keys().next().map(|(moment, _)| *moment)
    }

    pub fn arrive(&mut self, now: Moment) -> Option<Letter> {
        let first = self.letters.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the first member gives a call up.
    pub fn next_surrender(&self) -> Option<Moment> {
        self.waiting.values().map(|waiting| waiting.gives_up).min()
    }

    /// The calls whose members wait no longer. Their connections are closed: commits on them do not arrive any more,
    /// since a client sends no other commit before that.
    pub fn surrender(&mut self, now: Moment) -> Vec<Waiting> {
        let due = |waiting: &Waiting| waiting.gives_up <= now;
        let tickets: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| due(waiting))
            .map(|(ticket, _)| *ticket)
            .collect();
        let lost: Vec<Waiting> = tickets
            .iter()
            .filter_map(|ticket| self.waiting.remove(ticket))
            .collect();
        for waiting in &lost {
            self.close(waiting.member);
        }
        lost
    }

    /// The connection of a member ends, with the commits on it.
    pub fn close(&mut self, member: usize) {
        let waiting = &self.waiting;
        self.letters.retain(|_, letter| match letter {
            Letter::Call {
                ticket,
                call: Call::CommitOffsets(_),
            } => waiting.get(ticket).is_some_and(|waiting| waiting.member != member),
            Letter::Call { .. } | Letter::Answer { .. } => true,
        });
    }
}
