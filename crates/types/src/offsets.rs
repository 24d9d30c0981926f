//! Positions in a partition's log and the epochs that order its leaders.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use number;

number! {
    /// The place of one record in a partition's log.
    Offset(i64)
}
number! {
    /// Everything below it is committed: in the log of every in-sync replica. Exclusive.
    HighWatermark(i64)
}
number! {
    /// The offset that the next record of a log gets. Exclusive.
    LogEndOffset(i64)
}
number! {
    /// The first offset that a log still holds.
    LogStartOffset(i64)
}
number! {
    /// Counts the leaders of one partition. Comes from the quorum and only grows; `-1` means "unknown".
    LeaderEpoch(i32)
}
number! {
    /// Counts the changes to one partition's state (ISR, leader, ELR) in the metadata.
    PartitionEpoch(i32)
}
number! {
    /// A producer's number for a record in one partition; wraps from `i32::MAX` to 0.
    Sequence(i32)
}

impl Offset {
    pub const NONE: Offset = Offset(-1);
}

impl LeaderEpoch {
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);

    pub fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0 + 1)
    }
}

impl PartitionEpoch {
    pub fn next(self) -> PartitionEpoch {
        PartitionEpoch(self.0 + 1)
    }
}

impl Sequence {
    pub const NONE: Sequence = Sequence(-1);

    /// The sequence `count` records later; wraps to 0 after `i32::MAX` as Kafka's does.
    pub fn plus(self, count: i32) -> Sequence {
        let sum = i64::from(self.0) + i64::from(count);
        Sequence((sum % (i64::from(i32::MAX) + 1)) as i32)
    }
}

macro_rules! convert {
    ($($name:ident),*) => {$(
        impl From<Offset> for $name {
            fn from(offset: Offset) -> Self {
                Self(offset.0)
            }
        }
        impl From<$name> for Offset {
            fn from(bound: $name) -> Self {
                Self(bound.0)
            }
        }
    )*};
}
convert!(HighWatermark, LogEndOffset, LogStartOffset);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(7).plus(3), Sequence(10));
    }
}
