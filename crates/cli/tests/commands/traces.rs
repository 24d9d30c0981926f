//! Traces of three nodes at a collector of ours: a produce, a topic's creation, and what happens without a collector.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use klamm_proto::otlp::trace_service_server::{TraceService, TraceServiceServer};
use klamm_proto::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Span, any_value::Value as AnyValue,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::{Dev, klamm_with};

/// How long a span may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A span, and the node that sent it.
#[derive(Clone, Debug)]
struct Seen {
    node: i64,
    span: Span,
}

struct Collector(mpsc::UnboundedSender<Seen>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_node in request.into_inner().resource_spans {
            let resource = of_node.resource.unwrap_or_default();
            let node = number(&resource.attributes, "klamm.node_id").unwrap_or(-1);
            for span in of_node.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                // A test that has seen enough needs no more.
                let _ = self.0.send(Seen { node, span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    pair.value.as_ref()?.value.as_ref()
}

fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        AnyValue::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match value(&span.attributes, key)? {
        AnyValue::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Everything that has come, by trace.
struct Traces {
    coming: mpsc::UnboundedReceiver<Seen>,
    seen: BTreeMap<Vec<u8>, Vec<Seen>>,
}

impl Traces {
    /// A collector, and its setting for nodes.
    async fn collect() -> (Traces, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let setting = format!("otlp_endpoint=http://{}", listener.local_addr().unwrap());
        let (sender, coming) = mpsc::unbounded_channel();
        let service = TraceServiceServer::new(Collector(sender));
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let seen = BTreeMap::new();
        (Traces { coming, seen }, setting)
    }

    /// Waits for a trace that is as it must be.
    async fn until(&mut self, good: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(trace) = self.seen.values().find(|trace| good(trace)) {
                    return trace.clone();
                }
                let one = self.coming.recv().await.unwrap();
                self.seen.entry(one.span.trace_id.to_vec()).or_default().push(one);
            }
        });
        match found.await {
            Ok(trace) => trace,
            Err(_) => panic!("no such trace; there are {:#?}", self.names()),
        }
    }

    fn names(&self) -> BTreeSet<Vec<&str>> {
        let mut all = BTreeSet::new();
        for trace in self.seen.values() {
            all.insert(trace.iter().map(|one| one.span.name.as_str()).collect());
        }
        all
    }
}

fn named<'t>(trace: &'t [Seen], name: &str) -> Option<&'t Seen> {
    trace.iter().find(|one| one.span.name == name)
}

/// A child lies within its parent, and one step begins where the one before it ended.
fn check(trace: &[Seen], parent: &str, children: &[&str]) {
    let parent = &named(trace, parent).unwrap().span;
    let mut since = parent.start_time_unix_nano;
    for name in children {
        let child = &named(trace, name)
            .unwrap_or_else(|| panic!("no {name}: {trace:#?}"))
            .span;
        assert_eq!(child.parent_span_id, parent.span_id, "{name}: {trace:#?}");
        assert!(since <= child.start_time_unix_nano, "{name}: {trace:#?}");
        assert!(
            child.start_time_unix_nano <= child.end_time_unix_nano,
            "{name}: {trace:#?}"
        );
        assert!(
            child.end_time_unix_nano <= parent.end_time_unix_nano,
            "{name}: {trace:#?}"
        );
        since = child.end_time_unix_nano;
    }
}

/// The sum of a counter over the nodes; none if no node has it.
fn counter(folder: &Path, name: &str) -> Option<u64> {
    let cluster = std::fs::read(folder.join("cluster.json")).unwrap();
    let cluster: serde_json::Value = serde_json::from_slice(&cluster).unwrap();
    let of_node = |node: &serde_json::Value| {
        // A node that was killed counts nothing.
        let mut stream = TcpStream::connect(node["http"].as_str().unwrap()).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map(|count| count.parse::<u64>().unwrap())
    };
    let counts = cluster["nodes"].as_array().unwrap().iter().filter_map(of_node);
    counts.reduce(|one, other| one + other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_and_a_creation_are_told_step_by_step() {
    let (mut traces, setting) = Traces::collect().await;
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start_with(folder.path(), &[setting]);
    dev.klamm(&["topic", "create", "orders", "--partitions", "1"]).good();
    klamm_with("one\n", &["--bootstrap", &dev.bootstrap, "produce", "orders"]).good();

    let whole = |trace: &[Seen]| named(trace, "Produce").is_some() && named(trace, "replicas").is_some();
    let trace = traces.until(whole).await;
    check(&trace, "Produce", &["partition"]);
    check(&trace, "partition", &["checks", "queue", "append", "flush", "replicas"]);
    let produce = named(&trace, "Produce").unwrap();
    assert!(produce.span.parent_span_id.is_empty());
    assert_eq!(text(&produce.span, "kafka.client_id"), Some("klamm-cli"));
    assert!(number(&produce.span.attributes, "kafka.api_version").is_some());
    assert_eq!(produce.span.status, None);

    // Across nodes: the broker that was asked, the controller that decided.
    let decided = |trace: &[Seen]| {
        named(trace, "CreateTopics").is_some() && named(trace, "propose").is_some() && named(trace, "decide").is_some()
    };
    let trace = traces.until(decided).await;
    check(&trace, "CreateTopics", &["ask the controller"]);
    check(&trace, "ask the controller", &["decide"]);
    check(&trace, "decide", &["propose"]);

    // What the controller decides by itself: a fence, and the elections that follow.
    let victim = 2;
    let number_of = |node: &i32| node.to_string();
    let dev_kill = [
        "dev",
        "kill",
        &number_of(&victim),
        "--in",
        folder.path().to_str().unwrap(),
    ];
    crate::support::klamm(&dev_kill).good();
    let fenced = |trace: &[Seen]| {
        let fences = |one: &Seen| number(&one.span.attributes, "klamm.brokers_fenced") == Some(1);
        trace.iter().any(fences)
    };
    let trace = traces.until(fenced).await;
    assert!(
        text(&trace[0].span, "klamm.causes").is_some_and(|causes| causes.starts_with("CAUSE_")),
        "{trace:#?}"
    );
    assert_ne!(trace[0].node, i64::from(victim));

    // An error is told by its name.
    assert_eq!(dev.klamm(&["group", "delete", "absent"]).code, 4);
    let refused = |trace: &[Seen]| {
        let status = named(trace, "DeleteGroups").and_then(|one| one.span.status.clone());
        status.is_some_and(|status| status.message == "GROUP_ID_NOT_FOUND" && status.code == 2)
    };
    let trace = traces.until(refused).await;
    check(&trace, "DeleteGroups", &["coordinate"]);
    assert_eq!(counter(folder.path(), "klamm_trace_spans_dropped_total"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_node_works_and_with_a_ratio_of_zero_nothing_is_sent() {
    // Nobody listens at a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start_with(folder.path(), &[format!("otlp_endpoint=http://{port}")]);
    dev.klamm(&["topic", "create", "orders"]).good();
    klamm_with("one\n", &["--bootstrap", &dev.bootstrap, "produce", "orders"]).good();
    let begin = std::time::Instant::now();
    while counter(folder.path(), "klamm_trace_spans_dropped_total") == Some(0) {
        assert!(begin.elapsed() < PATIENCE, "nothing was dropped");
    }
    assert_eq!(counter(folder.path(), "klamm_trace_spans_sent_total"), Some(0));
    drop(dev);

    let (mut traces, setting) = Traces::collect().await;
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start_with(folder.path(), &[setting, "otlp_sampling_ratio=0".to_owned()]);
    dev.klamm(&["topic", "create", "orders"]).good();
    klamm_with("one\n", &["--bootstrap", &dev.bootstrap, "produce", "orders"]).good();
    assert_eq!(counter(folder.path(), "klamm_trace_spans_sent_total"), Some(0));
    assert_eq!(counter(folder.path(), "klamm_trace_spans_dropped_total"), Some(0));
    assert!(traces.coming.try_recv().is_err());
    drop(dev);

    // Off: not even the counters are there.
    let folder = tempfile::tempdir().unwrap();
    let _dev = Dev::start(folder.path());
    assert_eq!(counter(folder.path(), "klamm_trace_spans_dropped_total"), None);
}
