//! IncrementalAlterConfigs (44): settings of topics and of the cluster (BROKER with an empty name); the controller
//! checks them and decides.

use std::time::Duration;

use klamm_broker::backend::RequestError;
use klamm_broker::schema::requests::{
    self, AlterConfigsResource, AlterableConfig, controller_reply, controller_request,
};
use klamm_wire::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use klamm_wire::incremental_alter_configs_response::{AlterConfigsResourceResponse, IncrementalAlterConfigsResponse};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{code_number, message};

use super::controller;

/// The request names no time; clients wait 30 s by default.
const TIMEOUT: Duration = Duration::from_secs(25);

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: IncrementalAlterConfigsRequest<'_> = request.decode(&body)?;
    match submit(client, &asked).await {
        Ok(reply) => {
            let responses = reply.resources.iter().map(|resource| AlterConfigsResourceResponse {
                error_code: code_number(resource.error_code),
                error_message: message(&resource.error_message),
                resource_type: i8::try_from(resource.resource_type).unwrap_or(0),
                resource_name: &resource.resource_name,
            });
            let responses = responses.collect();
            request.answer(&IncrementalAlterConfigsResponse {
                responses,
                ..Default::default()
            })
        }
        Err(error) => {
            let responses = asked.resources.iter().map(|resource| AlterConfigsResourceResponse {
                error_code: error.code.code(),
                error_message: message(&error.message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            });
            let responses = responses.collect();
            request.answer(&IncrementalAlterConfigsResponse {
                responses,
                ..Default::default()
            })
        }
    }
}

async fn submit(
    client: &Client,
    asked: &IncrementalAlterConfigsRequest<'_>,
) -> Result<requests::IncrementalAlterConfigsReply, RequestError> {
    let resources = asked.resources.iter().map(|resource| AlterConfigsResource {
        resource_type: i32::from(resource.resource_type),
        resource_name: resource.resource_name.to_owned(),
        configs: resource
            .configs
            .iter()
            .map(|config| AlterableConfig {
                name: config.name.to_owned(),
                operation: i32::from(config.config_operation),
                value: config.value.map(str::to_owned),
            })
            .collect(),
    });
    let request = requests::IncrementalAlterConfigsRequest {
        resources: resources.collect(),
        validate_only: asked.validate_only,
    };
    let request = controller_request::Request::IncrementalAlterConfigs(request);
    match controller::submit(client, request, TIMEOUT).await? {
        controller_reply::Reply::IncrementalAlterConfigs(reply) => Ok(reply),
        _ => Err(controller::wrong_reply()),
    }
}
