//! Asking a group's coordinator, whoever that is by now. Administration keeps no coordinator in mind: it looks for it
//! before each try.

use klamm_types::{ErrorCode, NodeId};
use klamm_wire::{ApiKey, Request};
use tokio::time::{Instant, sleep};

use super::{Admin, AdminError, Kind, decode, refused};
use crate::consumer::group::find_coordinator;
use crate::error::RequestError;
use crate::net::{Connection, Reply};

impl Admin {
    /// Until when an operation is repeated.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout()
    }

    /// The broker that coordinates a group of this name, whether there is one or not.
    ///
    /// # Errors
    /// No broker tells within `api_timeout`, or the group is refused.
    pub async fn group_coordinator(&self, group_id: &str) -> Result<NodeId, AdminError> {
        let deadline = self.deadline();
        loop {
            match self.find_coordinator(group_id).await {
                Err(failure) => self.again(failure, Kind::Read, deadline).await?,
                found => return found,
            }
        }
    }

    /// One try.
    async fn find_coordinator(&self, group_id: &str) -> Result<NodeId, AdminError> {
        let failed = |cause| AdminError::Request {
            api: ApiKey::FindCoordinator,
            cause,
        };
        let anyone = self.client.any_connection(None).await.map_err(failed)?;
        let timeout = self.client.config().request_timeout;
        let found = find_coordinator(&anyone, group_id, timeout).await.map_err(failed)?;
        if found.code.is_error() {
            let what = format!("finding the coordinator of group {group_id}");
            return Err(refused(&what, found.code, Some(&found.message)));
        }
        Ok(found.node)
    }

    /// A connection to the group's coordinator; one try.
    pub(super) async fn coordinator(&self, group_id: &str) -> Result<Connection, AdminError> {
        let node = self.find_coordinator(group_id).await?;
        self.client.connection(node).await.map_err(|cause| AdminError::Request {
            api: ApiKey::FindCoordinator,
            cause,
        })
    }

    /// Waits a moment if another try makes sense, or gives the failure back.
    pub(super) async fn again(&self, failure: AdminError, kind: Kind, deadline: Instant) -> Result<(), AdminError> {
        let passes = failure.is_retriable();
        let repeatable = kind == Kind::Read || !failure.may_have_had_effect();
        if !passes || !repeatable || Instant::now() >= deadline {
            return Err(failure);
        }
        self.client.refresh();
        sleep(self.client.config().retry_backoff).await;
        Ok(())
    }

    /// Sends a request to the group's coordinator; one try.
    pub(super) async fn ask_coordinator<R: Request>(&self, group_id: &str, request: &R) -> Result<Reply, AdminError> {
        let connection = self.coordinator(group_id).await?;
        let reply = self.call(&connection, request).await;
        reply.map_err(|cause| AdminError::Request { api: R::KEY, cause })
    }
}

/// Whether the coordinator does not know this kind of request at all.
pub(super) fn is_unknown_api(failure: &AdminError) -> bool {
    matches!(
        failure,
        AdminError::Request {
            cause: RequestError::Unsupported { .. },
            ..
        }
    ) || failure.code() == Some(ErrorCode::UnsupportedVersion)
}

/// Reads the part of an answer that must be there.
pub(super) fn first<'r, R: Request, T>(
    reply: &'r Reply,
    what: &str,
    part: impl FnOnce(R::Response<'r>) -> Option<T>,
) -> Result<T, AdminError> {
    let missing = || AdminError::Missing {
        api: R::KEY,
        what: what.to_owned(),
    };
    part(decode::<R>(reply)?).ok_or_else(missing)
}
