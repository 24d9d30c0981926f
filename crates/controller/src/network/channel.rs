//! gRPC channels between nodes: one set of limits for all of them, and what an error of a dial or a call proves.

use std::error::Error;
use std::io;
use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A dial that takes longer is given up, so that a dead peer holds up nobody.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// HTTP/2 frames as large as this are taken: on both sides, because the sender obeys the receiver.
pub const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// The largest message of any service of this crate. Lies above the largest entry, with room for its neighbours.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// An address that is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {0:?} is not of the form host:port")]
pub struct BadAddress(pub String);

/// How to reach `address`. Its name is resolved at each dial.
pub fn endpoint(address: &str) -> Result<Endpoint, BadAddress> {
    let bad = || BadAddress(address.to_owned());
    if address
        .rsplit_once(':')
        .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    {
        return Err(bad());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| bad())?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// A channel that dials when it is first used, and again after each failure.
pub fn lazy(address: &str) -> Result<Channel, BadAddress> {
    let endpoint = endpoint(address)?;
    #[cfg(test)]
    if crate::simulated::is_running() {
        return Ok(endpoint.connect_with_connector_lazy(crate::simulated::connector()));
    }
    Ok(endpoint.connect_lazy())
}

/// Dials now.
pub async fn connect(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    #[cfg(test)]
    if crate::simulated::is_running() {
        return endpoint.connect_with_connector(crate::simulated::connector()).await;
    }
    endpoint.connect().await
}

/// Whether the other machine answered that nobody listens there.
pub fn is_refused(error: &(dyn Error + 'static)) -> bool {
    io_kind(error) == Some(io::ErrorKind::ConnectionRefused)
}

/// How a stream of messages from another node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// Its side of the connection ended: end of file or reset, as when a process dies.
    Connection,
    /// Anything else: the stream alone was reset, a keep-alive went unanswered, a deadline passed. Proves nothing.
    Stream,
}

/// Tells the two apart by what tonic, hyper and h2 leave in the error's causes.
pub fn stream_end(status: &Status) -> StreamEnd {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    let mut text = status.message().to_owned();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::TimedOut => StreamEnd::Stream,
                _ => StreamEnd::Connection,
            };
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    // h2 keeps the kind of an end to itself, but not its words.
    let timed_out = text.contains("keep-alive") || text.contains("timed out");
    let ended = [
        "broken pipe",
        "connection reset",
        "connection closed",
        "unexpected end of file",
        "not connected",
    ];
    match !timed_out && ended.iter().any(|words| text.contains(words)) {
        true => StreamEnd::Connection,
        false => StreamEnd::Stream,
    }
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_they_are_dialled() {
        for bad in ["", "host", "host:", ":1", "host:99999", "ho st:1"] {
            assert_eq!(lazy_error(bad), Some(BadAddress(bad.to_owned())), "{bad}");
        }
        assert_eq!(lazy_error("127.0.0.1:9190"), None);
        assert_eq!(lazy_error("[::1]:9190"), None);
    }

    fn lazy_error(address: &str) -> Option<BadAddress> {
        endpoint(address).err()
    }

    #[test]
    fn a_bare_status_proves_nothing() {
        assert_eq!(stream_end(&Status::unavailable("try again")), StreamEnd::Stream);
    }
}
