//! One partition, as somebody sees it who watches all replicas and all clients: the invariants, fed.
//!
//! Once an election was unclean, by permission, only what still must hold is checked: one batch per leader epoch and
//! offset, one leader per epoch, the cores' own orderings, and that everything becomes whole again.

use klamm_invariants::{
    Broken, FrontKept, HighWatermarkMonotonic, LeaderCompleteness, LogMatching, NoDuplicate, OneBatchPerPlace, Order,
    Placed, Seen, SingleLeaderPerEpoch, Stamp, no_acknowledged_loss, read_consistency,
};
use klamm_record::Batch;
use klamm_types::{LeaderEpoch, Offset, ProducerId};

#[derive(Debug, Default)]
pub struct Ledger {
    pub leaders: SingleLeaderPerEpoch,
    pub marks: HighWatermarkMonotonic,
    pub front: FrontKept,
    complete: LeaderCompleteness,
    log: LogMatching,
    places: OneBatchPerPlace,
    once: NoDuplicate,
    order: Order,
    pub acknowledged: u64,
}

fn placed(batch: &Batch) -> Placed {
    Placed {
        base: batch.base_offset(),
        next: batch.next_offset(),
        epoch: batch.leader_epoch(),
        crc: batch.header().crc,
    }
}

impl Ledger {
    pub fn committed_end(&self) -> Offset {
        self.log.end()
    }

    pub fn batches_committed(&self) -> u64 {
        self.log.batches_count() as u64
    }

    /// Where the batch that begins with this sequence was committed.
    pub fn place_of(&self, producer: ProducerId, sequence: i32) -> Option<Offset> {
        self.once.place_of(producer, sequence)
    }

    /// A batch is given to a log.
    pub fn given(&mut self, batch: &Batch) -> Result<(), Broken> {
        self.places.given(placed(batch))
    }

    /// The high watermark of a replica in this leader epoch covers this batch of its log.
    pub fn covered(&mut self, batch: &Batch, leader_epoch: LeaderEpoch) -> Result<(), Broken> {
        if self.log.covered(placed(batch))? == Seen::Before {
            return Ok(());
        }
        self.complete.committed(leader_epoch, batch.next_offset());
        let header = batch.header();
        if !header.has_producer_id() {
            return Ok(());
        }
        let stamp = Stamp {
            producer: header.producer_id,
            first: header.base_sequence.0,
            last: header.last_sequence().0,
        };
        self.once.committed(stamp, batch.base_offset())?;
        self.order.committed(stamp, batch.base_offset())
    }

    /// A producer was told that its batch is committed.
    pub fn acknowledged(&mut self, base: Offset, batch: &Batch) -> Result<(), Broken> {
        self.acknowledged += 1;
        no_acknowledged_loss(&self.log, base, batch.header().crc)
    }

    /// A reader was given this batch.
    pub fn read(&self, batch: &Batch) -> Result<(), Broken> {
        read_consistency(&self.log, batch.base_offset(), batch.header().crc)
    }

    /// A leader takes up its epoch with this log.
    pub fn leads(&self, epoch: LeaderEpoch, log_end: Offset) -> Result<(), Broken> {
        self.complete.leads(epoch, log_end)
    }
}
