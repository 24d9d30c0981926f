//! Addresses and roles as they stand in a node's settings.

use klamm_types::NodeId;

use super::value::Value;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Broker,
    Controller,
}

impl Value for Role {
    const TYPE: &'static str = "role";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "broker" => Ok(Role::Broker),
            "controller" => Ok(Role::Controller),
            _ => Err("expected broker or controller".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Role::Broker => "broker".to_owned(),
            Role::Controller => "controller".to_owned(),
        }
    }
}

/// A listener by name: `HOST://0.0.0.0:9092`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAddress {
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl Value for NamedAddress {
    const TYPE: &'static str = "NAME://HOST:PORT";

    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected NAME://HOST:PORT".to_owned();
        let (name, rest) = text.split_once("://").ok_or_else(expected)?;
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || !name.bytes().all(letters) {
            return Err(expected());
        }
        let (host, port) = split_host_port(rest).ok_or_else(expected)?;
        Ok(Self {
            name: name.to_ascii_uppercase(),
            host,
            port,
        })
    }

    fn show(&self) -> String {
        format!("{}://{}:{}", self.name, self.host, self.port)
    }
}

/// A voter of the controller quorum: `1@127.0.0.1:9190`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerAddress {
    pub node: NodeId,
    pub host: String,
    pub port: u16,
}

impl ControllerAddress {
    /// `HOST:PORT`, to be dialled.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Value for ControllerAddress {
    const TYPE: &'static str = "ID@HOST:PORT";

    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected ID@HOST:PORT".to_owned();
        let (node, rest) = text.split_once('@').ok_or_else(expected)?;
        let node = node.parse().ok().filter(|&node: &i32| node >= 0).ok_or_else(expected)?;
        let (host, port) = split_host_port(rest).ok_or_else(expected)?;
        Ok(Self {
            node: NodeId(node),
            host,
            port,
        })
    }

    fn show(&self) -> String {
        format!("{}@{}:{}", self.node, self.host, self.port)
    }
}

/// Where a listener binds and what it tells clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub bind_host: String,
    pub bind_port: u16,
    /// `None`: clients are told the address at which their connection arrived.
    pub advertised_host: Option<String>,
    pub advertised_port: u16,
}

/// `HOST:PORT`, an IPv6 host in brackets or not.
pub(super) fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return None;
    }
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let listener = NamedAddress::parse("host://0.0.0.0:9092").unwrap();
        assert_eq!(listener.show(), "HOST://0.0.0.0:9092");
        assert_eq!(ControllerAddress::parse("3@[::1]:9190").unwrap().host, "::1");
        for bad in [
            "",
            "9092",
            "HOST://",
            "HOST://a",
            "://a:1",
            "HO ST://a:1",
            "HOST://a:70000",
        ] {
            assert!(NamedAddress::parse(bad).is_err(), "{bad}");
        }
        for bad in ["a:1", "-1@a:1", "x@a:1", "1@a"] {
            assert!(ControllerAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
