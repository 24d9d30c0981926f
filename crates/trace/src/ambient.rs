//! The span that a task works for. A sampled request is carried out within its span, so that what it comes to finds the
//! span without being handed it; of requests that are not sampled nothing is kept.

use std::future::Future;

use crate::span::Parent;

tokio::task_local! {
    static CURRENT: Parent;
}

/// The span that the present task works for, if that is sampled. Not inherited by tasks that it spawns.
pub fn current() -> Option<Parent> {
    CURRENT.try_with(Clone::clone).ok()
}

/// A future that works for this span.
pub fn within<F: Future>(parent: Parent, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(parent, future)
}
