//! Where clients find brokers: the addresses of the listener through which the client came in.

use std::net::IpAddr;

use klamm_broker::metadata::Image;
use klamm_broker::metadata::image::BrokerState;
use klamm_types::NodeId;

use crate::context::Client;

/// A broker as a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint<'a> {
    pub node: NodeId,
    pub host: String,
    pub port: i32,
    pub rack: Option<&'a str>,
    pub fenced: bool,
}

/// Every live broker that has the client's listener.
pub(crate) fn live<'a>(client: &Client, image: &'a Image) -> Vec<Endpoint<'a>> {
    all(client, image)
        .into_iter()
        .filter(|endpoint| !endpoint.fenced)
        .collect()
}

/// Every registered broker that has the client's listener, fenced ones too.
pub(crate) fn all<'a>(client: &Client, image: &'a Image) -> Vec<Endpoint<'a>> {
    image
        .brokers()
        .iter()
        .filter_map(|(&node, broker)| endpoint(client, node, broker))
        .collect()
}

/// One live broker.
pub(crate) fn of<'a>(client: &Client, image: &'a Image, node: NodeId) -> Option<Endpoint<'a>> {
    image
        .broker(node)
        .filter(|broker| !broker.fenced)
        .and_then(|broker| endpoint(client, node, broker))
}

/// Whether a live broker can be reached through the client's listener.
pub(crate) fn is_reachable(client: &Client, image: &Image, node: NodeId) -> bool {
    image
        .broker(node)
        .is_some_and(|broker| !broker.fenced && broker.listener(&client.listener.name).is_some())
}

/// A live broker that stands for the controller: every broker passes requests on, so it is this one if it lives.
pub(crate) fn controller(client: &Client, live: &[Endpoint<'_>]) -> i32 {
    let own = client.backend().node_id();
    let chosen = live
        .iter()
        .find(|endpoint| endpoint.node == own)
        .or_else(|| live.first());
    chosen.map_or(-1, |endpoint| endpoint.node.0)
}

fn endpoint<'a>(client: &Client, node: NodeId, broker: &'a BrokerState) -> Option<Endpoint<'a>> {
    let registered = broker.listener(&client.listener.name)?;
    let (host, port) = if node == client.backend().node_id() {
        let own = &client.listener;
        (own.advertised_host.as_deref().unwrap_or(""), own.advertised_port)
    } else {
        (registered.host.as_str(), registered.port)
    };
    // A broker that was told no address of its own: the one at which this connection arrived. Another broker registers
    // an address unless all of them share a machine; then that holds for it too.
    let host = if is_unset(host) {
        client.local.ip().to_canonical().to_string()
    } else {
        host.to_owned()
    };
    let rack = broker.rack.as_deref();
    Some(Endpoint {
        node,
        host,
        port: i32::from(port),
        rack,
        fenced: broker.fenced,
    })
}

/// No address, or one that means "all addresses" and leads nowhere.
fn is_unset(host: &str) -> bool {
    host.is_empty() || host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
}
