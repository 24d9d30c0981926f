//! What the clients asked and heard, in the order in which it happened.

use klamm_types::Incarnation;

use super::timeline::Timeline;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Registers a broker of its own; the incarnation is the mark by which the entry is known.
    Write(Incarnation),
    /// Asks for what no entry is needed.
    Read,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub kind: Kind,
    /// The largest index that any client had heard of when this was asked.
    pub floor: u64,
    /// What the reply named; none while there is none, and for good if the outcome is unknown.
    pub applied: Option<u64>,
}

#[derive(Default)]
pub struct History {
    pub operations: Vec<Operation>,
    /// The largest index that was named in a reply.
    pub heard: u64,
    pub writes_acknowledged: u64,
    pub voter_changes: u64,
    /// A broken promise that a client saw.
    pub broken: Option<String>,
    pub timeline: Timeline,
}

impl History {
    pub fn ask(&mut self, kind: Kind) -> usize {
        let floor = self.heard;
        self.operations.push(Operation {
            kind,
            floor,
            applied: None,
        });
        self.operations.len() - 1
    }

    pub fn hear(&mut self, number: usize, applied: u64) {
        let operation = &mut self.operations[number];
        operation.applied = Some(applied);
        let old = match operation.kind {
            Kind::Write(_) => applied <= operation.floor,
            Kind::Read => applied < operation.floor,
        };
        if old {
            let text = format!("real-time order: {operation:?} was answered from before what had been answered");
            self.broken.get_or_insert(text);
        }
        if matches!(operation.kind, Kind::Write(_)) {
            self.writes_acknowledged += 1;
        }
        self.heard = self.heard.max(applied);
    }

    /// How many writes have had no answer.
    pub fn unknown(&self) -> u64 {
        let writes = self
            .operations
            .iter()
            .filter(|operation| matches!(operation.kind, Kind::Write(_)));
        writes.filter(|operation| operation.applied.is_none()).count() as u64
    }
}
