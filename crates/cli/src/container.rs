//! Whether an address belongs to a container's own network, where nobody outside can reach it. One judgement for
//! `klamm doctor` and for the log of a starting node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The networks that container engines make by default.
pub fn is_container_network(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(ip) if ip.octets()[0] == 172 && (17..=31).contains(&ip.octets()[1]))
}

/// The address by which clients reach a listener that advertises none, if it is a container's. `outward`: the address
/// from which this machine reaches others.
pub fn unreachable_from_outside(bound: IpAddr, outward: Option<IpAddr>) -> Option<IpAddr> {
    let reached = if bound.is_unspecified() { outward } else { Some(bound) };
    reached.filter(|&ip| is_container_network(ip))
}

/// The address from which this machine reaches others. Nothing is sent: the system only looks up the route.
pub fn outward_address() -> Option<IpAddr> {
    // Reserved for documentation (RFC 5737), so it is behind the default route everywhere.
    const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_address_that_clients_come_by_is_judged() {
        let container = Some(ip("172.18.0.3"));
        for (bound, outward, expected) in [
            ("0.0.0.0", container, container),
            ("::", container, container),
            ("0.0.0.0", Some(ip("192.168.1.7")), None),
            ("0.0.0.0", None, None),
            ("172.17.0.2", None, Some(ip("172.17.0.2"))),
            ("127.0.0.1", container, None),
            ("172.16.0.1", None, None),
            ("172.32.0.1", None, None),
        ] {
            assert_eq!(unreachable_from_outside(ip(bound), outward), expected, "{bound}");
        }
        assert!(is_container_network(ip("::ffff:172.20.0.1")));
    }
}
