//! One simulated controller: what a node's program does with its parts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use klamm_types::{Incarnation, NodeId};
use tonic::transport::Server;

use super::network::{self, PORT};
use crate::raft::types::RaftId;
use crate::{Controller, ControllerConfig, IdentityService, NodeIdentity, Timing};

/// What the world sees of a node.
#[derive(Default)]
pub struct Shown {
    pub controller: Option<Controller>,
    /// Counts the processes of this node.
    pub life: u64,
    /// Why it stopped, or did not start.
    pub failure: Option<String>,
}

#[derive(Clone)]
pub struct Setup {
    pub id: NodeId,
    pub folder: PathBuf,
    pub founders: BTreeMap<NodeId, String>,
    pub shown: Rc<RefCell<Shown>>,
}

impl Setup {
    /// The process's Raft id, if it is a member.
    pub fn raft_id(&self) -> Option<RaftId> {
        let shown = self.shown.borrow();
        Some(shown.controller.as_ref()?.node.running()?.raft_id)
    }

    /// The age of the store on which a member runs.
    pub fn age(&self) -> Option<u64> {
        let shown = self.shown.borrow();
        let node = &shown.controller.as_ref()?.node;
        node.running()?;
        Some(node.stored().age)
    }
}

pub fn name(id: NodeId) -> String {
    format!("n{}", id.0)
}

pub fn address(id: NodeId) -> String {
    format!("{}:{PORT}", name(id))
}

/// The node's process.
pub async fn run(setup: Setup) -> turmoil::Result {
    let identity = NodeIdentity::new(setup.id, Incarnation::from_u128(super::number()), None);
    let config = ControllerConfig {
        identity: identity.clone(),
        folder: setup.folder.clone(),
        voters: setup.founders.clone(),
        own_address: address(setup.id),
        was_registered: false,
        timing: Timing {
            snapshot_entries: 8,
            snapshot_interval: Duration::from_secs(1),
            log_entries_kept: 2,
            ..Timing::default()
        },
        settings: klamm_metadata::core::Settings::default(),
        tracer: klamm_trace::Tracer::off(),
    };
    let controller = match Controller::start(config).await {
        Ok(controller) => controller,
        Err(error) => {
            setup.shown.borrow_mut().failure = Some(format!("{error}: {:?}", std::error::Error::source(&error)));
            return Ok(());
        }
    };
    {
        let mut shown = setup.shown.borrow_mut();
        shown.life += 1;
        shown.controller = Some(controller.clone());
    }
    let server = Server::builder()
        .add_routes(controller.services())
        .add_service(IdentityService::server(identity));
    let incoming = network::incoming().await?;
    let failed = controller.failed();
    tokio::select! {
        ended = server.serve_with_incoming(incoming) => ended?,
        reason = failed => setup.shown.borrow_mut().failure = Some(reason),
    }
    Ok(())
}
