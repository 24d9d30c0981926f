//! What the front end counts: connections, bytes, and for each API how long requests take and which errors answers hold.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_broker::metrics::{Counter, Definition, Family, Histogram, Value};
use klamm_types::ErrorCode;
use klamm_wire::{ApiKey, Response};

use crate::advertised;

klamm_broker::definitions! {
    "klamm_kafka_";
    /// From the arrival of a request until its answer may be sent, waits included: of a fetch for records, of a produce for its acknowledgement.
    REQUESTS = "request_seconds": Histogram, "seconds", ["api"];
    /// Errors in answers, by the name of the code; an answer about several partitions or groups may hold several.
    ERRORS = "errors": Counter, "errors", ["api", "error"];
    /// Connections that are open.
    OPEN = "open_connections": Gauge, "connections", [];
    /// Connections that have been accepted.
    CONNECTIONS = "connections": Counter, "connections", [];
    /// Connections refused because there were too many.
    REFUSED = "connections_refused": Counter, "connections", [];
    /// Connections closed because of what came over them: garbage, half a request, an API that is not served.
    BROKEN = "connections_broken": Counter, "connections", [];
    /// Bytes of requests.
    RECEIVED = "received_bytes": Counter, "bytes", [];
    /// Bytes of answers.
    SENT = "sent_bytes": Counter, "bytes", [];
}

/// The metrics of one front end.
#[derive(Debug)]
pub struct Metrics {
    apis: BTreeMap<ApiKey, Api>,
    pub(crate) connections: Counter,
    pub(crate) closed: Counter,
    pub(crate) refused: Counter,
    pub(crate) broken: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
}

#[derive(Debug, Default)]
struct Api {
    seconds: Histogram,
    errors: Mutex<Errors>,
}

/// How often each code other than success stands in answers. Codes are few, whatever a client sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors(BTreeMap<i16, u64>);

impl Errors {
    pub fn of<R: Response>(response: &R) -> Errors {
        let mut errors = BTreeMap::new();
        response.each_error(&mut |code| {
            if code != ErrorCode::None.code() {
                *errors.entry(code).or_default() += 1;
            }
        });
        Errors(errors)
    }

    /// The names of the codes, as long as there are any.
    pub fn names(&self) -> Option<String> {
        let names = self
            .0
            .keys()
            .map(|&code| ErrorCode::from_code(code).map_or("unknown", ErrorCode::name));
        let names: Vec<&str> = names.collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn add(&mut self, other: &Errors) {
        for (code, count) in &other.0 {
            *self.0.entry(*code).or_default() += count;
        }
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            apis: advertised::table().map(|row| (row.key, Api::default())).collect(),
            connections: Counter::default(),
            closed: Counter::default(),
            refused: Counter::default(),
            broken: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
        }
    }
}

impl Metrics {
    /// What there is.
    pub fn definitions() -> &'static [&'static Definition] {
        DEFINITIONS
    }

    pub(crate) fn answered(&self, key: ApiKey, after: Duration, errors: Option<&Errors>) {
        let Some(api) = self.apis.get(&key) else { return };
        api.seconds.observe(after);
        if let Some(errors) = errors.filter(|errors| !errors.0.is_empty()) {
            api.lock().add(errors);
        }
    }

    /// How it stands. APIs that nobody has asked for are left out.
    pub fn families(&self) -> Vec<Family> {
        let (mut requests, mut errors) = (Family::new(&REQUESTS), Family::new(&ERRORS));
        for (key, api) in &self.apis {
            let Value::Histogram(distribution) = api.seconds.value() else {
                continue;
            };
            if distribution.count() == 0 {
                continue;
            }
            requests.push(vec![key.to_string()], Value::Histogram(distribution));
            for (code, count) in &api.lock().0 {
                let name = ErrorCode::from_code(*code).map_or("unknown", ErrorCode::name);
                errors.push(vec![key.to_string(), name.to_owned()], Value::Count(*count));
            }
        }
        let open = self.connections.get().saturating_sub(self.closed.get());
        vec![
            requests,
            errors,
            Family::single(&OPEN, Value::Gauge(open as f64)),
            Family::single(&CONNECTIONS, self.connections.value()),
            Family::single(&REFUSED, self.refused.value()),
            Family::single(&BROKEN, self.broken.value()),
            Family::single(&RECEIVED, self.received_bytes.value()),
            Family::single(&SENT, self.sent_bytes.value()),
        ]
    }
}

impl Api {
    fn lock(&self) -> MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use klamm_wire::metadata_response::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

    use super::*;

    #[test]
    fn errors_are_found_wherever_they_stand() {
        let partition = |error: ErrorCode| MetadataResponsePartition {
            error_code: error.code(),
            ..Default::default()
        };
        let response = MetadataResponse {
            topics: vec![MetadataResponseTopic {
                error_code: ErrorCode::InvalidTopicException.code(),
                partitions: vec![
                    partition(ErrorCode::LeaderNotAvailable),
                    partition(ErrorCode::None),
                    partition(ErrorCode::LeaderNotAvailable),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        let metrics = Metrics::default();
        let errors = Errors::of(&response);
        metrics.answered(ApiKey::Metadata, Duration::from_millis(3), Some(&errors));
        metrics.answered(ApiKey::Metadata, Duration::from_millis(3), None);
        let families = metrics.families();
        let Value::Histogram(distribution) = &families[0].samples[0].value else {
            panic!("{families:?}");
        };
        assert_eq!((families[0].samples.len(), distribution.count()), (1, 2));
        let counted: Vec<_> = families[1]
            .samples
            .iter()
            .map(|sample| (sample.labels[1].as_str(), &sample.value))
            .collect();
        let expected = [
            ("LEADER_NOT_AVAILABLE", &Value::Count(2)),
            ("INVALID_TOPIC_EXCEPTION", &Value::Count(1)),
        ];
        assert_eq!(counted, expected);
    }
}
