//! ApiVersions: readable by a client of any age.

use klamm_kafka::advertised;
use klamm_wire::ApiVersionsRequest;
use klamm_wire::api_versions_response::{ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

use crate::client::Front;
use crate::fake::Fake;
use crate::world::World;

fn asked() -> ApiVersionsRequest<'static> {
    ApiVersionsRequest {
        client_software_name: "tests",
        client_software_version: "1.0",
    }
}

fn supported(name: &'static str, min_version: i16, max_version: i16) -> SupportedFeatureKey<'static> {
    SupportedFeatureKey {
        name,
        min_version,
        max_version,
    }
}

fn finalized(name: &'static str, level: i16) -> FinalizedFeatureKey<'static> {
    FinalizedFeatureKey {
        name,
        max_version_level: level,
        min_version_level: level,
    }
}

#[tokio::test]
async fn every_version_lists_what_is_served() {
    let front = Front::start(Fake::new(World::three())).await;
    let api_keys: Vec<_> = advertised::table()
        .map(|row| ApiVersion {
            api_key: row.key.code(),
            min_version: row.listed.min,
            max_version: row.listed.max,
        })
        .collect();
    for version in 0..=4 {
        let mut expected = ApiVersionsResponse {
            api_keys: api_keys.clone(),
            ..Default::default()
        };
        if version >= 3 {
            // Three entries were applied.
            expected.finalized_features_epoch = 3;
            expected.finalized_features = vec![
                finalized("eligible.leader.replicas.version", 1),
                finalized("kraft.version", 1),
                finalized("metadata.version", 30),
            ];
            expected.supported_features = vec![supported("metadata.version", 7, 30)];
        }
        if version >= 4 {
            expected
                .supported_features
                .insert(0, supported("eligible.leader.replicas.version", 0, 1));
            expected.supported_features.insert(1, supported("kraft.version", 0, 1));
        }
        let reply = front.call(&asked(), version).await;
        assert_eq!(reply.read::<ApiVersionsRequest<'_>>(), expected, "version {version}");
    }
}

/// Header version 0 and the body of version 0, error 35, and only the key of ApiVersions itself.
#[tokio::test]
async fn an_unknown_version_is_answered_in_version_0() {
    let front = Front::start(Fake::new(World::three())).await;
    for version in [5i16, 99, i16::MAX, -1] {
        let mut client = front.client().await;
        let mut frame = vec![0, 0, 0, 16, 0, 18];
        frame.extend_from_slice(&version.to_be_bytes());
        // What a later version may put behind the client id is not known.
        frame.extend_from_slice(&[0, 0, 0, 7, 0, 1, b'x', 0xff, 0xff, 0xff, 0xff, 0xff]);
        client.send_bytes(&frame).await;
        let reply = client.receive(0).await.unwrap();
        let expected = [0, 0, 0, 7, 0, 0x23, 0, 0, 0, 1, 0, 0x12, 0, 0, 0, 4];
        assert_eq!(reply.bytes[..], expected, "version {version}");
        // The connection goes on, as the client's next try needs it to.
        client.call(&asked(), 3).await;
    }
}

#[tokio::test]
async fn a_client_must_name_its_software_properly() {
    let front = Front::start(Fake::new(World::three())).await;
    for (name, version) in [("", "1"), ("a", ""), ("-a", "1"), ("a b", "1"), ("a", "1.")] {
        let asked = ApiVersionsRequest {
            client_software_name: name,
            client_software_version: version,
        };
        let reply = front.call(&asked, 3).await;
        let expected = ApiVersionsResponse {
            error_code: 42,
            ..Default::default()
        };
        assert_eq!(reply.read::<ApiVersionsRequest<'_>>(), expected, "{name:?} {version:?}");
    }
}
