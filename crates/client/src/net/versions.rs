//! Which version of each API to speak with a broker. Pure.

use std::collections::BTreeMap;

use klamm_wire::{ApiKey, VersionRange};

/// What one broker said in its ApiVersions answer, as far as we know the APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BrokerVersions {
    ranges: BTreeMap<i16, VersionRange>,
}

impl BrokerVersions {
    pub fn new(ranges: impl IntoIterator<Item = (i16, VersionRange)>) -> BrokerVersions {
        BrokerVersions {
            ranges: ranges.into_iter().collect(),
        }
    }

    /// The highest version that both sides know and hold for stable.
    pub fn choose(&self, key: ApiKey) -> Option<i16> {
        self.choose_up_to(key, i16::MAX)
    }

    /// As `choose`, but not above `max`.
    pub fn choose_up_to(&self, key: ApiKey, max: i16) -> Option<i16> {
        let theirs = *self.ranges.get(&key.code())?;
        let (valid, stable) = (key.valid(), key.advertised());
        let ours = VersionRange::new(valid.min.max(stable.min), valid.max.min(stable.max).min(max));
        ours.highest_common(theirs)
    }

    /// Everything the broker listed, in order of the key.
    pub fn ranges(&self) -> impl Iterator<Item = (i16, VersionRange)> + '_ {
        self.ranges.iter().map(|(&key, &range)| (key, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version() {
        let broker = BrokerVersions::new([(0, VersionRange::new(0, 11)), (22, VersionRange::new(0, 6))]);
        assert_eq!(broker.choose(ApiKey::Produce), Some(11));
        assert_eq!(broker.choose_up_to(ApiKey::Produce, 9), Some(9));
        assert_eq!(
            broker.choose_up_to(ApiKey::Produce, 2),
            None,
            "we write no Produce below 3"
        );
        assert_eq!(broker.choose(ApiKey::InitProducerId), Some(5), "6 is not stable");
        assert_eq!(broker.choose(ApiKey::Fetch), None);
    }
}
