//! The probe: is the process behind an address dead, alive, or another one by now? It reports; who acts on the answer
//! decides what it proves.

use std::time::Duration;

use klamm_metadata::core::ProbeAnswer;
use klamm_proto::quorum::v1 as wire;
use klamm_proto::quorum::v1::identity_client::IdentityClient;
use klamm_types::{ClusterId, Incarnation, NodeId};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::channel;

/// How often the address is dialled while nothing is known.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// How long a probe goes on without an answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(150);

/// Who should be found at the address.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub cluster: Option<ClusterId>,
    pub node: NodeId,
}

/// Dials until refused or identified, for at most [`PROBE_TIMEOUT`]. Another cluster or node counts as another
/// incarnation, as does a connection refused; one that opens and breaks is no answer.
pub async fn probe(address: &str, expected: Expected) -> ProbeAnswer {
    let Ok(endpoint) = channel::endpoint(address) else {
        return ProbeAnswer::NoAnswer;
    };
    let deadline = Instant::now() + PROBE_TIMEOUT;
    loop {
        let next = Instant::now() + PROBE_INTERVAL;
        match timeout_at(deadline, channel::connect(&endpoint)).await {
            Err(_) => return ProbeAnswer::NoAnswer,
            Ok(Err(error)) if channel::is_refused(&error) => return ProbeAnswer::Refused,
            Ok(Err(_)) => {}
            Ok(Ok(connection)) => {
                let mut client = IdentityClient::new(connection);
                match timeout_at(deadline, client.identify(wire::IdentifyRequest {})).await {
                    Err(_) => return ProbeAnswer::NoAnswer,
                    Ok(Err(_)) => {}
                    Ok(Ok(reply)) => return identified(&reply.into_inner(), expected),
                }
            }
        }
        if next >= deadline {
            return ProbeAnswer::NoAnswer;
        }
        sleep_until(next).await;
    }
}

fn identified(reply: &wire::IdentifyReply, expected: Expected) -> ProbeAnswer {
    let cluster_fits = expected
        .cluster
        .is_none_or(|cluster| reply.cluster_id.as_ref() == cluster.as_bytes());
    let incarnation = match Incarnation::from_slice(&reply.incarnation) {
        Some(incarnation) if cluster_fits && reply.node_id == expected.node.0 => incarnation,
        _ => Incarnation::ZERO,
    };
    ProbeAnswer::Identified { incarnation }
}
