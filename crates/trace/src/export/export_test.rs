//! Spans on their way to collectors: one that takes them, one that rejects, none at all.

use klamm_proto::otlp::trace_service_server::{TraceService, TraceServiceServer};
use klamm_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::{Config, Context, Counts, Tracer, current, within};

/// Takes spans, or rejects some of each call.
struct Collector {
    taken: UnboundedSender<ResourceSpans>,
    rejected: i64,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        for spans in request.into_inner().resource_spans {
            // A test that has seen enough needs no more.
            let _ = self.taken.send(spans);
        }
        let partial_success = Some(ExportTracePartialSuccess {
            rejected_spans: self.rejected,
            error_message: "as wished".to_owned(),
        });
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

/// The address of a collector, and what it takes.
async fn collector(rejected: i64) -> (String, mpsc::UnboundedReceiver<ResourceSpans>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (taken, seen) = mpsc::unbounded_channel();
    let service = TraceServiceServer::new(Collector { taken, rejected });
    let serving = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    (endpoint, seen)
}

fn tracer(endpoint: &str, ratio: f64) -> Tracer {
    let config = Config {
        endpoint: endpoint.to_owned(),
        ratio,
        node_id: 7,
        version: "1.2.3",
    };
    Tracer::start(&config, &Handle::current()).unwrap()
}

/// Waits until so many spans are accounted for.
async fn counted(tracer: &Tracer, spans: u64) -> Counts {
    loop {
        let counts = tracer.counts();
        if counts.sent + counts.dropped >= spans {
            return counts;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_trace_arrives_with_parents_times_and_who_sent_it() {
    let (endpoint, mut seen) = collector(0).await;
    let tracer = tracer(&endpoint, 1.0);
    let before = SystemTime::now();
    let mut root = tracer.sample("Produce", Kind::Server).unwrap();
    root.set("version", 9_i64);
    root.set("client", "a client".to_owned());
    root.fail("NOT_LEADER_OR_FOLLOWER");
    let begin = Instant::now();
    let found = within(root.parent(), async {
        let parent = current().unwrap();
        parent.part("checks", begin, Instant::now());
        // It travels, and comes back as another process would read it.
        Context::from_header(&parent.context().to_header()).unwrap()
    });
    let elsewhere = found.await;
    drop(tracer.continued(elsewhere, "decide", Kind::Server));
    assert!(current().is_none());
    drop(root);
    let got = seen.recv().await.unwrap();
    let resource = &got.resource.as_ref().unwrap().attributes;
    let text = |key: &str| {
        resource
            .iter()
            .find(|pair| pair.key == key)
            .unwrap()
            .value
            .clone()
            .unwrap()
    };
    let string = |text: &str| Some(any_value::Value::StringValue(text.to_owned()));
    assert_eq!(text("service.name").value, string("klamm"));
    assert_eq!(text("service.instance.id").value, string("7"));
    assert_eq!(text("service.version").value, string("1.2.3"));
    let [checks, decide, root] = &got.scope_spans[0].spans[..] else {
        panic!("{got:?}");
    };
    assert_eq!(
        (checks.name.as_str(), decide.name.as_str(), root.name.as_str()),
        ("checks", "decide", "Produce")
    );
    for child in [checks, decide] {
        assert_eq!(
            (&child.trace_id, &child.parent_span_id),
            (&root.trace_id, &root.span_id)
        );
        assert!(child.start_time_unix_nano >= root.start_time_unix_nano);
        assert!(child.end_time_unix_nano <= root.end_time_unix_nano);
    }
    let nanos = |time: SystemTime| u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    assert!(root.start_time_unix_nano >= nanos(before) && root.end_time_unix_nano <= nanos(SystemTime::now()));
    assert_eq!(
        (root.trace_id.len(), root.span_id.len(), root.parent_span_id.len()),
        (16, 8, 0)
    );
    assert_eq!(root.status.as_ref().unwrap().message, "NOT_LEADER_OR_FOLLOWER");
    assert_eq!(root.attributes.len(), 2);
    assert_eq!(counted(&tracer, 3).await, Counts { sent: 3, dropped: 0 });
}

#[tokio::test]
async fn the_ratio_decides() {
    let (endpoint, _seen) = collector(0).await;
    let never = tracer(&endpoint, 0.0);
    assert!((0..1000).all(|_| never.sample("Fetch", Kind::Server).is_none()));
    assert!(never.rare("fence").is_none());
    let always = tracer(&endpoint, 1.0);
    assert!((0..1000).all(|_| always.sample("Fetch", Kind::Server).is_some()));
    let seldom = tracer(&endpoint, 0.01);
    assert!(seldom.rare("fence").is_some());
    let sampled = (0..10_000)
        .filter(|_| seldom.sample("Fetch", Kind::Server).is_some())
        .count();
    assert!((20..400).contains(&sampled), "{sampled} of 10,000");
    let off = Tracer::off();
    let context = Context::new_trace();
    assert!(off.sample("Fetch", Kind::Server).is_none() && off.rare("fence").is_none());
    assert!(off.continued(context, "decide", Kind::Server).is_none() && !off.is_on());
}

#[tokio::test]
async fn without_a_collector_spans_are_dropped_and_nobody_waits() {
    // A port that nobody listens at.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tracer = tracer(&format!("http://{port}"), 1.0);
    // More than the queue takes: each ends at once, whatever becomes of it.
    for _ in 0..20_000 {
        drop(tracer.sample("Produce", Kind::Server));
    }
    assert!(tracer.counts().dropped >= 20_000 - 8192, "{:?}", tracer.counts());
    let full = tracer.counts().dropped;
    assert_eq!(counted(&tracer, full + 1).await.sent, 0);
}

#[tokio::test]
async fn what_a_collector_rejects_counts_as_dropped() {
    let (endpoint, mut seen) = collector(2).await;
    let tracer = tracer(&endpoint, 1.0);
    for _ in 0..5 {
        drop(tracer.sample("Produce", Kind::Server));
    }
    assert_eq!(seen.recv().await.unwrap().scope_spans[0].spans.len(), 5);
    assert_eq!(counted(&tracer, 5).await, Counts { sent: 3, dropped: 2 });
}

#[tokio::test]
async fn what_has_ended_is_sent_when_the_last_tracer_goes() {
    let (endpoint, mut seen) = collector(0).await;
    let tracer = tracer(&endpoint, 1.0);
    drop(tracer.rare("fence"));
    drop(tracer);
    assert_eq!(seen.recv().await.unwrap().scope_spans[0].spans[0].name, "fence");
}
