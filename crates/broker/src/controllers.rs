//! The port to the active controller, as the broker's parts see it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;

use crate::backend::RequestError;

/// A reply together with the entry it rests on.
#[derive(Clone, Debug)]
pub struct Decided {
    pub reply: Reply,
    /// The reply holds for images that contain this entry.
    pub applied_index: u64,
}

/// Hands requests to the active controller, wherever it is.
///
/// An implementation MUST find the active controller by itself and repeat what certainly had no effect, until
/// `timeout`. It MUST NOT answer NOT_CONTROLLER. An outcome that is not known is REQUEST_TIMED_OUT; every request may
/// be repeated safely.
pub trait Controllers: Send + Sync + 'static {
    fn submit(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Result<Decided, RequestError>>;
}
