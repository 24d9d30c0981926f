//! InitProducerId (22) without transactions.

use klamm_wire::{ApiKey, InitProducerIdRequest, Tree};

use crate::case::{ALL, Case, Cases, from};
use crate::cluster::number;

/// A broker may have to fetch a block of ids first.
fn loaded(tree: &Tree) -> bool {
    number(tree, "error_code") != 14
}

pub fn cases() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::InitProducerId);
    for timeout in [i32::MAX, 1000, 0, -1, i32::MIN] {
        cases.add(format!("a new id, time-out {timeout}"), ALL, move |session, version| {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: timeout,
                ..Default::default()
            };
            session.ask_until(version, &request, loaded)?;
            Ok(())
        });
    }
    for (producer_id, producer_epoch) in [(5, 0), (5, -1), (-1, 0), (i64::MAX, 7), (-5, -5)] {
        cases.add(
            format!("with producer id {producer_id} and epoch {producer_epoch}"),
            from(3),
            move |session, version| {
                let request = InitProducerIdRequest {
                    transactional_id: None,
                    transaction_timeout_ms: 1000,
                    producer_id,
                    producer_epoch,
                    ..Default::default()
                };
                session.ask_until(version, &request, loaded)?;
                Ok(())
            },
        );
    }
    cases.add("an empty transactional id", ALL, |session, version| {
        let request = InitProducerIdRequest {
            transactional_id: Some(""),
            transaction_timeout_ms: 1000,
            ..Default::default()
        };
        session.ask_until(version, &request, loaded)?;
        Ok(())
    });
    cases.list
}
