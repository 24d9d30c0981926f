//! A node's HTTP side: is it alive, is it ready, how does it stand. JSON for programs, nothing that changes anything.

use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use klamm_broker::node::{Node, Status};
use tokio::net::TcpListener;

use super::{backup, why};

/// Binds the port before the node starts, so that a wrong address stops the start.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("binding http_bind {address}"))
}

/// What is asked for by HTTP.
#[derive(Clone)]
pub struct Served {
    pub node: Arc<Node>,
    /// Without the broker role there is none.
    pub front_end: Option<Arc<klamm_kafka::Metrics>>,
}

pub async fn serve(listener: TcpListener, served: Served) {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/in-sync", get(in_sync))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/metadata/backup", get(backup::backup))
        .route("/why/topic", get(why::topic))
        .route("/why/partition", get(why::partition))
        .route("/why/cluster", get(why::cluster))
        .with_state(served);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

/// The process runs and its parts make progress.
async fn healthz(State(served): State<Served>) -> (StatusCode, String) {
    answer(served.node.unhealthy().await)
}

/// It serves: registered, not fenced, its metadata fresh, every partition led or followed.
async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    answer(served.node.unready().await)
}

/// It serves, and every replica on it is in sync: another node may be stopped.
async fn in_sync(State(served): State<Served>) -> (StatusCode, String) {
    answer(served.node.out_of_sync().await)
}

fn answer(reason: Option<String>) -> (StatusCode, String) {
    match reason {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn status(State(served): State<Served>) -> Json<Status> {
    Json(served.node.status().await)
}

/// For Prometheus to scrape.
async fn metrics(State(served): State<Served>) -> Response {
    let mut families = served.node.metrics().await;
    families.extend(served.front_end.iter().flat_map(|front_end| front_end.families()));
    (
        [(CONTENT_TYPE, super::metrics::CONTENT_TYPE)],
        super::metrics::render(&families),
    )
        .into_response()
}
