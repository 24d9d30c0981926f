//! One span for each request that is sampled: who asks for what, and which errors the answer holds.

use klamm_trace::{Kind, Span};

use crate::context::Client;
use crate::net::request::{Answer, Reply, Request};

pub(crate) fn begin(client: &Client, request: &Request) -> Option<Span> {
    let tracer = &client.shared.tracer;
    if !tracer.is_on() {
        return None;
    }
    let mut span = tracer.sample(request.key.name(), Kind::Server)?;
    span.set("kafka.api_version", i64::from(request.version));
    span.set("kafka.listener", client.listener.name.clone());
    span.set("network.peer.address", client.peer.ip().to_string());
    span.set("network.peer.port", i64::from(client.peer.port()));
    if let Some(name) = request.client_id() {
        span.set("kafka.client_id", name.to_owned());
    }
    Some(span)
}

pub(crate) fn end(mut span: Span, answer: &Answer) {
    match answer {
        Ok(Reply::Frame(_, errors)) => {
            if let Some(names) = errors.names() {
                span.fail(names);
            }
        }
        Ok(Reply::Nothing) => {}
        Err(error) => span.fail(error.to_string()),
    }
}
