//! Carries what partitions want of the controller there, and the answers back.

use std::sync::Arc;
use std::time::Duration;

use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, ErrorCode, NodeId};
use tokio::sync::watch;

use crate::controllers::Controllers;
use crate::partitions::{AlterAnswer, Partitions};

/// The cores ask again; a request that nobody answers must not hold up the next.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Runs until the node stops.
pub(crate) async fn carry(
    node: NodeId,
    epoch: watch::Receiver<BrokerEpoch>,
    partitions: Partitions,
    controllers: Arc<dyn Controllers>,
) {
    loop {
        let wishes = partitions.wishes().await;
        let broker_epoch = *epoch.borrow();
        if let Some(request) = wishes.alter_request(node, broker_epoch) {
            let outcome = controllers.submit(Request::AlterPartition(request), TIMEOUT).await;
            let answer = match &outcome {
                Ok(decided) => match &decided.reply {
                    Reply::AlterPartition(reply) => AlterAnswer::Reply(reply),
                    _ => AlterAnswer::Unknown,
                },
                Err(error) if error.code == ErrorCode::RequestTimedOut => AlterAnswer::Unknown,
                Err(_) => AlterAnswer::NotSent,
            };
            for (partition, alter, outcome) in wishes.outcomes(answer) {
                partitions.alter_answered(partition, &alter, outcome);
            }
        }
        if let Some(request) = wishes.damage_request(node, broker_epoch) {
            match controllers
                .submit(Request::ReportDamage(request), TIMEOUT)
                .await
                .map(|decided| decided.reply)
            {
                Ok(Reply::ReportDamage(reply)) if reply.error_code == 0 => partitions.damage_reported(&wishes),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the damage could not be reported; it will be again"),
            }
        }
    }
}
