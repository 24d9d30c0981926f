//! ListConfigResources (74): what has settings: topics and brokers. There are no settings of loggers, client metrics or
//! groups, so none are named. The first version asks for client metrics only.

use klamm_types::ErrorCode;
use klamm_wire::list_config_resources_request::ListConfigResourcesRequest;
use klamm_wire::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};

use crate::context::Client;
use crate::endpoints;
use crate::net::request::{Answer, Request};

const TYPES_FROM: i16 = 1;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub(crate) fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: ListConfigResourcesRequest = request.decode(&body)?;
    let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    if asked.resource_types.iter().any(|kind| !known.contains(kind)) {
        return request.answer(&ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        });
    }
    let wanted = |kind| {
        request.version >= TYPES_FROM && (asked.resource_types.is_empty() || asked.resource_types.contains(&kind))
    };
    let image = client.image();
    let mut named: Vec<(i8, String)> = Vec::new();
    if wanted(TOPIC) {
        named.extend(image.topics().values().map(|topic| (TOPIC, topic.name.to_string())));
    }
    if wanted(BROKER) {
        let live = endpoints::live(client, &image);
        named.extend(live.iter().map(|broker| (BROKER, broker.node.to_string())));
    }
    let resources = named.iter().map(|(kind, name)| ConfigResource {
        resource_name: name,
        resource_type: *kind,
    });
    request.answer(&ListConfigResourcesResponse {
        config_resources: resources.collect(),
        ..Default::default()
    })
}
