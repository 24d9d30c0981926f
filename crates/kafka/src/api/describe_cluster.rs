//! DescribeCluster (60): the brokers and the cluster's id.

use klamm_types::ErrorCode;
use klamm_wire::describe_cluster_request::DescribeClusterRequest;
use klamm_wire::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};

use crate::context::Client;
use crate::endpoints;
use crate::net::request::{Answer, Request};
use crate::topics::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED};

const FENCED_FROM: i16 = 2;
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

pub(crate) fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DescribeClusterRequest = request.decode(&body)?;
    match asked.endpoint_type {
        ENDPOINT_BROKERS => {}
        ENDPOINT_CONTROLLERS => {
            return refused(
                request,
                ErrorCode::MismatchedEndpointType,
                "this is a broker's endpoint",
            );
        }
        _ => {
            return refused(
                request,
                ErrorCode::UnsupportedEndpointType,
                "there is no such type of endpoint",
            );
        }
    }
    let image = client.image();
    let mut brokers = endpoints::all(client, &image);
    let controller_id = endpoints::controller(client, &endpoints::live(client, &image));
    if request.version < FENCED_FROM || !asked.include_fenced_brokers {
        brokers.retain(|broker| !broker.fenced);
    }
    let cluster_id = client.backend().cluster_id().to_string();
    let listed = brokers.iter().map(|broker| DescribeClusterBroker {
        broker_id: broker.node.0,
        host: &broker.host,
        port: broker.port,
        rack: broker.rack,
        is_fenced: broker.fenced,
    });
    request.answer(&DescribeClusterResponse {
        cluster_id: &cluster_id,
        controller_id,
        brokers: listed.collect(),
        cluster_authorized_operations: if asked.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
        ..Default::default()
    })
}

fn refused(request: &Request, code: ErrorCode, text: &str) -> Answer {
    request.answer(&DescribeClusterResponse {
        error_code: code.code(),
        error_message: Some(text),
        ..Default::default()
    })
}
