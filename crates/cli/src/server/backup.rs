//! `/metadata/backup`: all metadata as one file. It changes nothing, and whoever may read it may know all topics.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::status::Served;

pub async fn backup(State(served): State<Served>) -> Response {
    let taken = tokio::task::spawn_blocking(move || served.node.backup()).await;
    match taken {
        Ok(Some(bytes)) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "this node has no metadata yet\n").into_response(),
        Err(failed) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{failed}\n")).into_response(),
    }
}
