//! ApiVersions (18): what this broker serves. The first request of nearly every client, and the one that a client
//! of any age must be able to read the answer of.

use klamm_broker::metadata::Image;
use klamm_types::ErrorCode;
use klamm_wire::ApiKey;
use klamm_wire::api_versions_request::ApiVersionsRequest;
use klamm_wire::api_versions_response::{ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

use crate::advertised;
use crate::context::Client;
use crate::net::request::{Answer, Request, Served};

const SOFTWARE_FROM: i16 = 3;
/// From here on clients take features whose lowest level is 0.
const ZERO_LEVELS_FROM: i16 = 4;

/// Kafka's features that work here, all of them in force: name, lowest and highest level.
///
/// `metadata.version` tells tools which Kafka to take this cluster for. What transactions and groups would be listed
/// under is left out: clients change their ways on it.
const FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1),
    ("kraft.version", 0, 1),
    ("metadata.version", 7, 30),
];

pub(crate) fn answer(client: &Client, request: &Request, served: Served) -> Answer {
    if served == Served::UnknownApiVersions {
        // The oldest form, which every client reads, with the range to try again in.
        let own = advertised::table().filter(|row| row.key == ApiKey::ApiVersions);
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: own.map(|row| listed(&row)).collect(),
            ..Default::default()
        };
        return request.answer_in(&response, 0);
    }
    let body = request.body();
    let asked: ApiVersionsRequest<'_> = request.decode(&body)?;
    let named = is_name(asked.client_software_name) && is_name(asked.client_software_version);
    if request.version >= SOFTWARE_FROM && !named {
        let error_code = ErrorCode::InvalidRequest.code();
        return request.answer(&ApiVersionsResponse {
            error_code,
            ..Default::default()
        });
    }
    request.answer(&response(&client.image(), request.version))
}

fn response(image: &Image, version: i16) -> ApiVersionsResponse<'static> {
    let supported = FEATURES
        .iter()
        .filter(|(_, min, _)| *min > 0 || version >= ZERO_LEVELS_FROM);
    let finalized = FEATURES.iter().map(|&(name, _, max)| FinalizedFeatureKey {
        name,
        max_version_level: max,
        min_version_level: max,
    });
    ApiVersionsResponse {
        api_keys: advertised::table().map(|row| listed(&row)).collect(),
        supported_features: supported
            .map(|&(name, min_version, max_version)| SupportedFeatureKey {
                name,
                min_version,
                max_version,
            })
            .collect(),
        // Must never go back: the index of the last metadata entry does not.
        finalized_features_epoch: i64::try_from(image.applied_index()).unwrap_or(i64::MAX),
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}

fn listed(row: &advertised::AdvertisedApi) -> ApiVersion {
    ApiVersion {
        api_key: row.key.code(),
        min_version: row.listed.min,
        max_version: row.listed.max,
    }
}

/// Kafka's rule for the name and version of a client's software: letters and digits, inside also `-` and `.`.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_client_software() {
        for good in ["a", "apache-kafka-java", "4.3.1", "A9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "ü", "a_b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
