//! Events and effects in one line each, for the timeline.

use klamm_record::Batch;
use klamm_replication::{Effect, Event};

fn batches(batches: &[Batch]) -> String {
    let one = |batch: &Batch| {
        format!(
            "{}..{} e{} {:08x} p{} s{}",
            batch.base_offset(),
            batch.next_offset(),
            batch.leader_epoch(),
            batch.header().crc,
            batch.header().producer_id,
            batch.header().base_sequence
        )
    };
    let list: Vec<String> = batches.iter().map(one).collect();
    format!("[{}]", list.join(", "))
}

pub fn event(event: &Event) -> String {
    match event {
        Event::Produce(produce) => format!(
            "Produce request {} {:?} p{} s{} {:08x}",
            produce.request,
            produce.acks,
            produce.batch.header().producer_id,
            produce.batch.header().base_sequence,
            produce.batch.header().crc
        ),
        Event::ReplicaBatches(message) => format!(
            "ReplicaBatches of {} subscription {} epoch {} from {} hw {} {}",
            message.leader,
            message.subscription,
            message.leader_epoch,
            message.from,
            message.high_watermark,
            batches(&message.batches)
        ),
        Event::MetadataChanged(view) => format!(
            "MetadataChanged leader {:?} epoch {} partition epoch {} isr {:?} elr {:?} brokers {:?}",
            view.leader, view.leader_epoch, view.partition_epoch, view.isr, view.elr, view.brokers
        ),
        Event::Truncated {
            log_start,
            log_end,
            producers,
        } => {
            format!("Truncated {log_start}..{log_end}, {} producers", producers.len())
        }
        other => format!("{other:?}"),
    }
}

pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Append { append, batches: list } => format!("Append {append} {}", batches(list)),
        other => format!("{other:?}"),
    }
}
