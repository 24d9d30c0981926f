//! `/why/…`: why leaders, in-sync replicas, brokers and the controller changed, as JSON. Errors are JSON too.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use klamm_broker::node::why::{ANSWER_ENTRIES_MAX, Answer, Unanswered};
use klamm_types::ErrorCode;
use serde::Deserialize;
use serde_json::json;

use super::status::Served;

#[derive(Deserialize)]
pub struct OfTopic {
    topic: String,
    max: Option<usize>,
}

#[derive(Deserialize)]
pub struct OfPartition {
    topic: String,
    partition: i32,
    max: Option<usize>,
}

#[derive(Deserialize)]
pub struct OfCluster {
    max: Option<usize>,
}

/// A question as axum has read it.
type Asked<T> = Result<Query<T>, QueryRejection>;

pub async fn topic(State(served): State<Served>, asked: Asked<OfTopic>) -> Response {
    match asked {
        Ok(Query(asked)) => of_topic(served, asked.topic, None, asked.max).await,
        Err(rejection) => malformed(&rejection),
    }
}

pub async fn partition(State(served): State<Served>, asked: Asked<OfPartition>) -> Response {
    match asked {
        Ok(Query(asked)) => of_topic(served, asked.topic, Some(asked.partition), asked.max).await,
        Err(rejection) => malformed(&rejection),
    }
}

pub async fn cluster(State(served): State<Served>, asked: Asked<OfCluster>) -> Response {
    match asked {
        Ok(Query(asked)) => answer(served.node.why_cluster(asked.max.unwrap_or(ANSWER_ENTRIES_MAX))),
        Err(rejection) => malformed(&rejection),
    }
}

async fn of_topic(served: Served, topic: String, partition: Option<i32>, max: Option<usize>) -> Response {
    let max = max.unwrap_or(ANSWER_ENTRIES_MAX);
    // Ten thousand partitions have a lot to read.
    let read = tokio::task::spawn_blocking(move || served.node.why_topic(&topic, partition, max));
    match read.await {
        Ok(read) => answer(read),
        Err(failed) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::UnknownServerError,
            &failed.to_string(),
        ),
    }
}

fn answer(read: Result<Answer, Unanswered>) -> Response {
    match read {
        Ok(answer) => Json(answer).into_response(),
        Err(reason) => {
            let status = match reason {
                Unanswered::Topic(_) | Unanswered::Partition { .. } => StatusCode::NOT_FOUND,
                Unanswered::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            };
            error(status, reason.code(), &reason.to_string())
        }
    }
}

fn malformed(rejection: &QueryRejection) -> Response {
    error(
        StatusCode::BAD_REQUEST,
        ErrorCode::InvalidRequest,
        &rejection.body_text(),
    )
}

fn error(status: StatusCode, code: ErrorCode, message: &str) -> Response {
    (status, Json(json!({"error": code.name(), "message": message}))).into_response()
}
