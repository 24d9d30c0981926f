//! The beginning and the end of spans: what is sampled, and the queue of what has ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

use crate::context::Context;
use crate::export::{Exporter, Resource};
use crate::span::{Ended, Kind, Span};

/// Spans that wait to be sent; a span takes some hundred bytes.
const QUEUE_MAX: usize = 8192;

/// Where spans go, and of what they are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `http://HOST:PORT` of a collector that takes OTLP by gRPC.
    pub endpoint: String,
    /// The part of requests that is sampled, from 0 to 1.
    pub ratio: f64,
    pub node_id: i32,
    pub version: &'static str,
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[error("the address of the collector, {endpoint}")]
pub struct StartError {
    endpoint: String,
    #[source]
    source: tonic::transport::Error,
}

/// What became of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    /// Those for which the queue had no room, and those that the collector did not take.
    pub dropped: u64,
}

/// Makes spans, or none. Clones share the queue.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
pub(crate) struct Inner {
    ratio: f64,
    queue: mpsc::Sender<Ended>,
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
}

impl Tracer {
    /// Makes no spans.
    pub fn off() -> Tracer {
        Tracer(None)
    }

    /// Makes spans, and sends them from a task on this runtime until the last clone and the last span are dropped.
    ///
    /// # Errors
    /// The endpoint is no address. Whether somebody listens there is not asked.
    pub fn start(config: &Config, runtime: &Handle) -> Result<Tracer, StartError> {
        let endpoint = Endpoint::from_shared(config.endpoint.clone()).map_err(|source| StartError {
            endpoint: config.endpoint.clone(),
            source,
        })?;
        let (queue, ended) = mpsc::channel(QUEUE_MAX);
        let inner = Arc::new(Inner {
            ratio: config.ratio,
            queue,
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let resource = Resource {
            node_id: config.node_id,
            version: config.version,
        };
        let exporter = Exporter::new(endpoint, resource, Arc::downgrade(&inner));
        runtime.spawn(exporter.run(ended));
        Ok(Tracer(Some(inner)))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub fn counts(&self) -> Counts {
        let count = |inner: &Arc<Inner>| Counts {
            sent: inner.sent.load(Ordering::Relaxed),
            dropped: inner.dropped.load(Ordering::Relaxed),
        };
        self.0.as_ref().map(count).unwrap_or_default()
    }

    /// The beginning of a trace, if it is sampled.
    pub fn sample(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Option<Span> {
        let inner = self.0.as_ref()?;
        // A random number below 1 is below a ratio of 1, and never below 0.
        if rand::random::<f64>() >= inner.ratio {
            return None;
        }
        Some(root(inner, name.into(), kind))
    }

    /// The beginning of a trace of what is rare: always sampled, unless nothing is.
    pub fn rare(&self, name: impl Into<Cow<'static, str>>) -> Option<Span> {
        let inner = self.0.as_ref().filter(|inner| inner.ratio > 0.0)?;
        Some(root(inner, name.into(), Kind::Internal))
    }

    /// Goes on with a trace that began elsewhere, and is sampled there.
    pub fn continued(&self, from: Context, name: impl Into<Cow<'static, str>>, kind: Kind) -> Option<Span> {
        let inner = self.0.as_ref()?;
        Some(Span::begin(inner.clone(), from.another(), from.span, name.into(), kind))
    }
}

fn root(inner: &Arc<Inner>, name: Cow<'static, str>, kind: Kind) -> Span {
    Span::begin(inner.clone(), Context::new_trace(), 0, name, kind)
}

impl Inner {
    /// Never waits.
    pub fn put(&self, ended: Ended) {
        if self.queue.try_send(ended).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
