//! A node's HTTP side: is it alive, is it ready, how does it stand. JSON for programs, nothing that changes anything.

use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use klamm_broker::node::{Node, Status};
use tokio::net::TcpListener;

/// Binds the port before the node starts, so that a wrong address stops the start.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("binding http_bind {address}"))
}

pub async fn serve(listener: TcpListener, node: Arc<Node>) {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(node);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

/// The process runs and its parts make progress.
async fn healthz(State(node): State<Arc<Node>>) -> (StatusCode, String) {
    answer(node.unhealthy().await)
}

/// It serves: registered, not fenced, its metadata fresh, every partition led or followed.
async fn readyz(State(node): State<Arc<Node>>) -> (StatusCode, String) {
    answer(node.unready().await)
}

fn answer(reason: Option<String>) -> (StatusCode, String) {
    match reason {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn status(State(node): State<Arc<Node>>) -> Json<Status> {
    Json(node.status().await)
}
