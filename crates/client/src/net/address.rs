//! Host and port as people write them. Names are kept as names: they are resolved at each dial, never once.

use std::fmt;
use std::str::FromStr;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// Text that is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no address of the form host:port")]
pub struct AddressError {
    pub text: String,
}

const PORT_DEFAULT: u16 = 9092;

impl FromStr for HostPort {
    type Err = AddressError;

    /// Reads `host`, `host:port`, `[v6 address]:port`; without a port it is 9092.
    fn from_str(text: &str) -> Result<HostPort, AddressError> {
        let refused = || AddressError { text: text.to_owned() };
        let trimmed = text.trim();
        let (host, port) = match trimmed.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']').ok_or_else(refused)?;
                let port = match tail {
                    "" => None,
                    _ => Some(tail.strip_prefix(':').ok_or_else(refused)?),
                };
                (host, port)
            }
            None => match trimmed.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (trimmed, None),
            },
        };
        let port = match port {
            None => PORT_DEFAULT,
            Some(digits) => digits.parse().map_err(|_| refused())?,
        };
        if host.is_empty() || port == 0 {
            return Err(refused());
        }
        Ok(HostPort {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Reads a bootstrap list, separated by commas. Empty entries are skipped.
pub(crate) fn parse_list(text: &str) -> Result<Vec<HostPort>, AddressError> {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(str::parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let host = |host: &str, port| {
            Ok(HostPort {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!("localhost:19092".parse(), host("localhost", 19092));
        assert_eq!("broker".parse(), host("broker", 9092));
        assert_eq!("[::1]:9093".parse(), host("::1", 9093));
        assert_eq!("[::1]".parse(), host("::1", 9092));
        for bad in ["", ":9092", "a:b", "a:70000", "a:0", "[::1", "[::1]9092"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
        assert_eq!(parse_list("a:1, b:2,").unwrap().len(), 2);
        assert_eq!("[::1]:9093".parse::<HostPort>().unwrap().to_string(), "[::1]:9093");
    }
}
