//! Sending what has ended: in batches, one call at a time. What a collector does not take is dropped and counted; while
//! none answers, calls are spaced out and the queue fills.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klamm_proto::otlp::trace_service_client::TraceServiceClient;
use klamm_proto::otlp::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource as ResourceMessage, ResourceSpans,
    ScopeSpans, Span as SpanMessage, SpanKind, Status, StatusCode, any_value,
};
use tokio::sync::mpsc;
use tokio::time::{Instant as Deadline, sleep, timeout, timeout_at};
use tonic::transport::{Channel, Endpoint};

use crate::span::{Ended, Kind, Value};
use crate::tracer::Inner;

/// Spans of one call.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(500);
const CONNECT_MAX: Duration = Duration::from_secs(3);
const CALL_MAX: Duration = Duration::from_secs(10);
/// After a call that failed, and after each further one twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// By how much the times of spans may be off.
const DRIFT_MAX: Duration = Duration::from_millis(1);
/// A collector that does not take spans is told of so often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Who sends.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub node_id: i32,
    pub version: &'static str,
}

pub(crate) struct Exporter {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    /// Weak, so that the queue ends with those who fill it.
    counts: Weak<Inner>,
    clock: Clock,
    pause: Duration,
    complained: Option<Instant>,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no answer within {CALL_MAX:?}")]
    Late,
    #[error("{0}")]
    Status(Box<tonic::Status>),
    #[error("{count} spans were rejected: {why}")]
    Partial { count: u64, why: String },
}

impl Exporter {
    pub fn new(endpoint: Endpoint, resource: Resource, counts: Weak<Inner>) -> Exporter {
        // Dials at the first call.
        let channel = endpoint.connect_timeout(CONNECT_MAX).connect_lazy();
        Exporter {
            client: TraceServiceClient::new(channel),
            resource,
            counts,
            clock: Clock::now(),
            pause: PAUSE_MIN,
            complained: None,
        }
    }

    /// Until nobody can put a span into the queue any more; what is in it then is still sent.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Ended>) {
        while let Some(first) = queue.recv().await {
            let mut batch = vec![first];
            let until = Deadline::now() + BATCH_WAIT;
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                match timeout_at(until, queue.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    // Nobody is left, or time is up.
                    Ok(0) | Err(_) => break,
                }
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<Ended>) {
        let count = batch.len() as u64;
        self.clock.follow();
        let request = to_request(&self.resource, &self.clock, batch);
        let answer = timeout(CALL_MAX, self.client.export(request)).await;
        let refusal = match answer {
            Err(_) => Some(Refusal::Late),
            Ok(Err(status)) => Some(Refusal::Status(Box::new(status))),
            Ok(Ok(answer)) => {
                let partial = answer.into_inner().partial_success.unwrap_or_default();
                let count = u64::try_from(partial.rejected_spans).unwrap_or(0);
                let why = partial.error_message;
                (count > 0).then_some(Refusal::Partial { count, why })
            }
        };
        let dropped = match &refusal {
            None => 0,
            Some(Refusal::Partial { count: rejected, .. }) => (*rejected).min(count),
            Some(Refusal::Late | Refusal::Status(_)) => count,
        };
        if let Some(counts) = self.counts.upgrade() {
            counts.sent.fetch_add(count - dropped, Ordering::Relaxed);
            counts.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        match refusal {
            None => self.pause = PAUSE_MIN,
            Some(refusal) => {
                self.complain(&refusal);
                // One that answers need not be spared.
                if !matches!(refusal, Refusal::Partial { .. }) {
                    sleep(self.pause).await;
                    self.pause = (2 * self.pause).min(PAUSE_MAX);
                }
            }
        }
    }

    fn complain(&mut self, refusal: &Refusal) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(%refusal, "the collector does not take spans; they are dropped");
        }
    }
}

fn to_request(resource: &Resource, clock: &Clock, batch: Vec<Ended>) -> ExportTraceServiceRequest {
    let text = |key: &str, text: String| pair(key, any_value::Value::StringValue(text));
    let attributes = vec![
        text("service.name", "klamm".to_owned()),
        text("service.instance.id", resource.node_id.to_string()),
        text("service.version", resource.version.to_owned()),
        pair("klamm.node_id", any_value::Value::IntValue(i64::from(resource.node_id))),
    ];
    let scope = InstrumentationScope {
        name: "klamm".to_owned(),
        version: resource.version.to_owned(),
    };
    let spans = batch.into_iter().map(|ended| to_span(ended, clock));
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(ResourceMessage { attributes }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.collect(),
            }],
        }],
    }
}

fn to_span(ended: Ended, clock: &Clock) -> SpanMessage {
    let attributes = ended.attributes.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
            Value::Number(number) => any_value::Value::IntValue(number),
        };
        pair(key, value)
    });
    let parent = match ended.parent {
        0 => Vec::new(),
        parent => parent.to_be_bytes().to_vec(),
    };
    let kind = match ended.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let status = ended.error.map(|why| Status {
        message: why.into_owned(),
        code: StatusCode::Error.into(),
    });
    SpanMessage {
        trace_id: ended.context.trace.to_be_bytes().to_vec().into(),
        span_id: ended.context.span.to_be_bytes().to_vec().into(),
        parent_span_id: parent.into(),
        name: ended.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: clock.unix_nanos(ended.begin),
        end_time_unix_nano: clock.unix_nanos(ended.end),
        attributes: attributes.collect(),
        status,
    }
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

/// Spans are measured by the clock that never goes back, and told by the one that people read.
struct Clock {
    wall: SystemTime,
    instant: Instant,
}

impl Clock {
    fn now() -> Clock {
        Clock {
            wall: SystemTime::now(),
            instant: Instant::now(),
        }
    }

    /// One that has drifted or was set; smaller differences would only tear neighbours apart.
    fn follow(&mut self) {
        let now = Clock::now();
        let expected = self.wall + now.instant.saturating_duration_since(self.instant);
        let apart = match now.wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if apart > DRIFT_MAX {
            *self = now;
        }
    }

    fn unix_nanos(&self, at: Instant) -> u64 {
        let wall = match at.checked_duration_since(self.instant) {
            Some(later) => self.wall + later,
            None => self.wall - self.instant.duration_since(at),
        };
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[path = "export/export_test.rs"]
mod tests;
