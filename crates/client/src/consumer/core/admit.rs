//! What of a fetch answer is worth keeping: whole batches from the offset asked for, each marked shown or hidden.
//!
//! Batches stay closed here, except the end markers of transactions.

use std::collections::BTreeSet;

use bytes::Bytes;
use klamm_record::{Batch, BatchError, BatchHeader, CheckRules, EndTxnMarker, TxnResult, split_first};
use klamm_types::{Offset, ProducerId};

use crate::consumer::config::IsolationLevel;

/// End markers are tiny, whatever they claim.
const MARKER_BYTES_MAX: usize = 1024;

/// A transaction that was aborted, as the leader lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::consumer) struct Aborted {
    pub first_offset: Offset,
    pub producer_id: ProducerId,
}

/// Whether the records of a batch are handed out. The position moves past hidden ones all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    Shown,
    Hidden,
}

/// What was found in the records of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    pub batches: Vec<(Batch, Visibility)>,
    /// What follows the batches cannot be read.
    pub fault: Option<BatchError>,
}

/// Takes the records of a fetch answer apart.
pub(super) fn admit(mut records: Bytes, from: Offset, isolation: IsolationLevel, aborted: &[Aborted]) -> Admitted {
    let mut admitted = Admitted::default();
    let mut transactions = Transactions::new(isolation, aborted);
    let mut next = Offset(0);
    loop {
        let batch = match split_first(&mut records) {
            Ok(Some(batch)) => batch,
            // Brokers may cut the last batch off.
            Ok(None) | Err(BatchError::Truncated { .. }) => return admitted,
            Err(fault) => {
                admitted.fault = Some(fault);
                return admitted;
            }
        };
        let header = *batch.header();
        if header.base_offset < next {
            let BatchHeader {
                base_offset,
                last_offset_delta,
                ..
            } = header;
            admitted.fault = Some(BatchError::BadOffsets {
                base_offset,
                last_offset_delta,
            });
            return admitted;
        }
        next = header.next_offset();
        match transactions.judge(&batch) {
            // A first batch that lies below is no fault, but brings nothing.
            Ok(_) if next <= from => {}
            Ok(visibility) => admitted.batches.push((batch, visibility)),
            Err(fault) => {
                admitted.fault = Some(fault);
                return admitted;
            }
        }
    }
}

/// Which producers' records belong to aborted transactions, as the batches go by.
struct Transactions {
    isolation: IsolationLevel,
    /// Those to come, the last offset first.
    ahead: Vec<Aborted>,
    open: BTreeSet<ProducerId>,
}

impl Transactions {
    fn new(isolation: IsolationLevel, aborted: &[Aborted]) -> Transactions {
        let mut ahead = aborted.to_vec();
        ahead.sort_by(|one, other| other.cmp(one));
        Transactions {
            isolation,
            ahead,
            open: BTreeSet::new(),
        }
    }

    fn judge(&mut self, batch: &Batch) -> Result<Visibility, BatchError> {
        let header = batch.header();
        let control = header.attributes.is_control();
        if self.isolation == IsolationLevel::ReadUncommitted {
            return Ok(if control { Visibility::Hidden } else { Visibility::Shown });
        }
        while let Some(aborted) = self
            .ahead
            .pop_if(|aborted| aborted.first_offset <= header.last_offset())
        {
            self.open.insert(aborted.producer_id);
        }
        if control {
            if is_abort(batch)? {
                self.open.remove(&header.producer_id);
            }
            return Ok(Visibility::Hidden);
        }
        let hidden = header.attributes.is_transactional() && self.open.contains(&header.producer_id);
        Ok(if hidden { Visibility::Hidden } else { Visibility::Shown })
    }
}

/// Whether a control batch ends a transaction without effect. Compaction may have emptied it.
fn is_abort(batch: &Batch) -> Result<bool, BatchError> {
    batch.check(&CheckRules::stored())?;
    let Some(record) = batch.records(MARKER_BYTES_MAX)?.next().transpose()? else {
        return Ok(false);
    };
    Ok(EndTxnMarker::from_record(&record).is_some_and(|marker| marker.result == TxnResult::Abort))
}
