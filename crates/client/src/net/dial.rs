//! Making connections: resolve, dial, ask for versions. One try each; repeating is the caller's business.

use std::time::Duration;

use klamm_types::ErrorCode;
use klamm_wire::{ApiKey, ApiVersionsRequest, Reader, Request, VersionRange};
use tokio::net::{TcpStream, lookup_host};

use super::address::HostPort;
use super::connection::Connection;
use super::reply::Reply;
use super::versions::BrokerVersions;
use crate::error::{ConnectError, RequestError, code_from_wire};

const SOFTWARE_NAME: &str = "klamm";
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub client_id: String,
    /// For name resolution, the dial and the handshake together.
    pub timeout: Duration,
}

impl Dialer {
    /// A connection that knows what its broker speaks.
    pub async fn dial(&self, address: &HostPort) -> Result<Connection, ConnectError> {
        match tokio::time::timeout(self.timeout, self.dial_unbounded(address)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut {
                address: address.clone(),
                waited: self.timeout,
            }),
        }
    }

    async fn dial_unbounded(&self, address: &HostPort) -> Result<Connection, ConnectError> {
        let stream = open(address).await?;
        // Requests are written whole, so there is nothing for the kernel to gather.
        let _ = stream.set_nodelay(true);
        let connection = Connection::start(stream, address.clone(), &self.client_id);
        let versions = self.ask_versions(&connection).await?;
        connection.set_versions(versions);
        Ok(connection)
    }

    /// Asks in our newest version; a broker that does not know it answers in version 0 and says what it knows.
    async fn ask_versions(&self, connection: &Connection) -> Result<BrokerVersions, ConnectError> {
        let failed = |cause: RequestError| ConnectError::Handshake {
            address: connection.address().clone(),
            cause: Box::new(cause),
        };
        let newest = ApiKey::ApiVersions.advertised().max;
        let mut version = newest;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: SOFTWARE_NAME,
                client_software_version: SOFTWARE_VERSION,
            };
            let reply = connection
                .call_in(&request, version, self.timeout)
                .await
                .map_err(failed)?;
            match read_versions(&reply).map_err(failed)? {
                Answer::Versions(versions) => return Ok(versions),
                Answer::TryVersion(lower) if lower < version => version = lower,
                Answer::TryVersion(_) => {
                    return Err(ConnectError::Refused {
                        address: connection.address().clone(),
                        code: ErrorCode::UnsupportedVersion,
                    });
                }
                Answer::Refused(code) => {
                    return Err(ConnectError::Refused {
                        address: connection.address().clone(),
                        code,
                    });
                }
            }
        }
    }
}

/// Tries the addresses of a name one after another.
async fn open(address: &HostPort) -> Result<TcpStream, ConnectError> {
    let resolved = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(|cause| ConnectError::Resolve {
            address: address.clone(),
            cause,
        })?;
    let mut failure = None;
    for target in resolved {
        match TcpStream::connect(target).await {
            Ok(stream) => return Ok(stream),
            Err(cause) => failure = Some(cause),
        }
    }
    Err(match failure {
        Some(cause) => ConnectError::Dial {
            address: address.clone(),
            cause,
        },
        None => ConnectError::NoAddress {
            address: address.clone(),
        },
    })
}

enum Answer {
    Versions(BrokerVersions),
    /// The broker does not know the version asked in; it knows this one.
    TryVersion(i16),
    Refused(ErrorCode),
}

fn read_versions(reply: &Reply) -> Result<Answer, RequestError> {
    let malformed = |cause| RequestError::Decode {
        api: ApiKey::ApiVersions,
        cause,
    };
    // The error code comes first in every version, right after the correlation id.
    let mut reader = Reader::new(&reply.frame);
    reader.i32().map_err(malformed)?;
    let code = code_from_wire(reader.i16().map_err(malformed)?);
    let refused = code == ErrorCode::UnsupportedVersion;
    let readable = Reply {
        frame: reply.frame.clone(),
        version: if refused { 0 } else { reply.version },
    };
    let answer = readable.decode::<ApiVersionsRequest<'_>>();
    if refused {
        // Very old brokers send no list along; version 0 is what all of them know.
        let listed = answer.ok().and_then(|answer| {
            answer
                .api_keys
                .iter()
                .find(|entry| entry.api_key == ApiVersionsRequest::KEY.code())
                .map(|e| e.max_version)
        });
        return Ok(Answer::TryVersion(
            listed.unwrap_or(0).clamp(0, ApiKey::ApiVersions.advertised().max),
        ));
    }
    if code.is_error() {
        return Ok(Answer::Refused(code));
    }
    let ranges = answer.map_err(malformed)?.api_keys;
    let ranges = ranges
        .iter()
        .map(|entry| (entry.api_key, VersionRange::new(entry.min_version, entry.max_version)));
    Ok(Answer::Versions(BrokerVersions::new(ranges)))
}
