//! The APIs that the codec knows, and their versions.
//!
//! The table is generated from `proto/kafka/`. *Valid* versions can be encoded and decoded, *advertised* ones are
//! listed by `ApiVersions`, *served* ones are both. They differ in two cases: the latest version of an API may still
//! be unstable, and Produce is advertised from 0 because old clients read their features from its minimum.

/// Versions from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

impl VersionRange {
    pub const fn new(min: i16, max: i16) -> VersionRange {
        VersionRange { min, max }
    }

    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The highest version that both ranges have.
    pub fn highest_common(self, other: VersionRange) -> Option<i16> {
        let max = self.max.min(other.max);
        (max >= self.min.max(other.min)).then_some(max)
    }
}

/// What is known of one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiInfo {
    pub name: &'static str,
    pub valid: VersionRange,
    pub advertised: VersionRange,
    /// The first version in the flexible encoding, with tagged fields; `None`: never.
    pub flexible_from: Option<i16>,
    /// Whether the last valid version is still being worked on and therefore not advertised.
    pub latest_unstable: bool,
}

include!(concat!(env!("OUT_DIR"), "/api_keys.rs"));

impl ApiKey {
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The versions that can be encoded and decoded.
    pub fn valid(self) -> VersionRange {
        self.info().valid
    }

    /// The versions that `ApiVersions` lists.
    pub fn advertised(self) -> VersionRange {
        self.info().advertised
    }

    /// Whether a broker answers this version: it can be decoded, and it is not unstable.
    pub fn serves(self, version: i16) -> bool {
        self.valid().contains(version) && self.advertised().contains(version)
    }

    /// Whether this version uses the flexible encoding.
    pub fn is_flexible(self, version: i16) -> bool {
        self.info().flexible_from.is_some_and(|from| version >= from)
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        assert_eq!(ApiKey::ALL.len(), 34);
        for &key in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(key.code()), Some(key));
        }
        assert_eq!(ApiKey::from_code(4), None);
        let produce = ApiInfo {
            name: "Produce",
            valid: VersionRange::new(3, 13),
            advertised: VersionRange::new(0, 13),
            flexible_from: Some(9),
            latest_unstable: false,
        };
        assert_eq!(ApiKey::Produce.info(), &produce);
        assert!(!ApiKey::Produce.serves(2) && ApiKey::Produce.serves(3));
        assert_eq!(ApiKey::InitProducerId.valid(), VersionRange::new(0, 6));
        assert_eq!(ApiKey::InitProducerId.advertised(), VersionRange::new(0, 5));
        assert!(!ApiKey::InitProducerId.serves(6));
        assert_eq!(ApiKey::OffsetDelete.info().flexible_from, None);
    }

    #[test]
    fn highest_common_version() {
        let ours = VersionRange::new(3, 13);
        assert_eq!(ours.highest_common(VersionRange::new(0, 9)), Some(9));
        assert_eq!(ours.highest_common(VersionRange::new(0, 99)), Some(13));
        assert_eq!(ours.highest_common(VersionRange::new(0, 2)), None);
        assert_eq!(ours.highest_common(VersionRange::new(14, 15)), None);
    }
}
