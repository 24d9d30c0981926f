//! Carries hints about broken replica streams to the active controller: one attempt each, beside everything else.

use klamm_controller::ControllerClient;

use crate::partitions::Partitions;

/// Runs until the node stops. The attempts under way are bounded by the number of brokers.
pub(crate) async fn carry(partitions: Partitions, client: ControllerClient) {
    loop {
        let suspicion = partitions.suspicion().await;
        let (partitions, client) = (partitions.clone(), client.clone());
        tokio::spawn(async move {
            tracing::debug!(broker = %suspicion.broker, "a replica stream broke; asking the controller to look");
            client.suspect(suspicion.broker, suspicion.broker_epoch).await;
            partitions.suspicion_told(suspicion);
        });
    }
}
