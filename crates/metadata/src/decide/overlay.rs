//! The image as the records decided so far will leave it, together with those records.

use klamm_schema::Message;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, Decision, MetadataBatch, MetadataRecord};
use klamm_types::{BrokerEpoch, ErrorCode, NodeId, Timestamp};

use crate::image::{ApplyError, Image};
use crate::record;

/// Longest evidence that a record carries, in bytes.
const EVIDENCE_BYTES_MAX: usize = 120;

/// Image plus pending records. Cheap to make and to drop: the image is shared until it changes.
#[derive(Clone, Debug)]
pub struct Overlay {
    image: Image,
    records: Vec<MetadataRecord>,
    bytes: usize,
    now: Timestamp,
    random: u64,
    broken: Option<ApplyError>,
}

impl Overlay {
    /// Nothing decided yet. `random` is fresh for each overlay.
    pub fn new(image: &Image, now: Timestamp, random: u128) -> Overlay {
        Overlay {
            image: image.clone(),
            records: Vec::new(),
            bytes: 0,
            now,
            random: (random >> 64) as u64 ^ random as u64,
            broken: None,
        }
    }

    /// The image as it will be.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The records so far.
    pub fn records(&self) -> &[MetadataRecord] {
        &self.records
    }

    /// Encoded size of the records so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What to propose; an error if a decision made a record that does not apply, which must stop the node.
    pub fn into_batch(self) -> Result<MetadataBatch, ApplyError> {
        match self.broken {
            Some(error) => Err(error),
            None => Ok(MetadataBatch {
                records: self.records,
                decided_at_ms: self.now.0,
            }),
        }
    }

    /// Adds a record; the next decision sees it applied.
    pub(crate) fn write(&mut self, message: Record) {
        let record = record(message);
        if let Err(error) = self.image.apply(&record) {
            self.broken.get_or_insert(error);
        }
        self.bytes += record.encoded_len();
        self.records.push(record);
    }

    pub(crate) fn decision(&self, why: Why<'_>) -> Decision {
        let evidence = why.evidence;
        let mut end = evidence.len().min(EVIDENCE_BYTES_MAX);
        while !evidence.is_char_boundary(end) {
            end -= 1;
        }
        Decision {
            cause: why.cause.into(),
            evidence: evidence[..end].to_string(),
            decided_at_ms: self.now.0,
            broker: why.broker.map(|broker| broker.0),
            last_contact_at_ms: why.last_contact.map(|at| at.0),
        }
    }

    /// The next random number (splitmix64 over the seed that the overlay was given).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn random_u128(&mut self) -> u128 {
        (u128::from(self.random()) << 64) | u128::from(self.random())
    }

    /// Checks that a request speaks for the broker's current registration.
    pub(crate) fn check_broker_epoch(&self, broker: NodeId, epoch: BrokerEpoch) -> Result<(), Refusal> {
        match self.image.broker(broker) {
            None => Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, "")),
            Some(state) if state.epoch != epoch => Err(Refusal::new(
                ErrorCode::StaleBrokerEpoch,
                format!("the broker's epoch is {}, not {epoch}", state.epoch),
            )),
            Some(_) => Ok(()),
        }
    }
}

/// Why something is decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Why<'a> {
    pub cause: Cause,
    /// What was seen, in a few words for people.
    pub evidence: &'a str,
    /// Whom it is about.
    pub broker: Option<NodeId>,
    /// When that broker was last known to work, if it works no more.
    pub last_contact: Option<Timestamp>,
}

impl<'a> Why<'a> {
    pub fn new(cause: Cause, evidence: &'a str) -> Why<'a> {
        Why {
            cause,
            evidence,
            broker: None,
            last_contact: None,
        }
    }

    pub fn about(self, broker: NodeId) -> Why<'a> {
        Why {
            broker: Some(broker),
            ..self
        }
    }
}

/// A Kafka error and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: ErrorCode,
    pub text: String,
}

impl Refusal {
    /// An empty text stands for the code's own sentence.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Refusal {
        let text: String = text.into();
        let text = if text.is_empty() {
            code.sentence().to_string()
        } else {
            text
        };
        Refusal { code, text }
    }

    pub fn number(&self) -> i32 {
        i32::from(self.code.code())
    }
}

/// Error number and text of an outcome, as replies hold them: 0 and empty for success.
pub(crate) fn error_fields<T>(outcome: &Result<T, Refusal>) -> (i32, String) {
    match outcome {
        Ok(_) => (0, String::new()),
        Err(refusal) => (refusal.number(), refusal.text.clone()),
    }
}
