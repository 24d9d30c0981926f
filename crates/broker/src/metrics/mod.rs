//! What a node counts: each metric declared once, with name, unit, labels and help; atomics inside, families outside.
//!
//! Nothing is decided by a metric. Whoever serves them asks for families; how they are written is not known here.

mod data;
mod histogram;

use std::sync::atomic::{AtomicU64, Ordering};

pub use data::Metrics;
pub use histogram::{BOUNDS_SECONDS, Distribution, Histogram};

/// How a metric's values are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives; its written name ends in `_total`.
    Counter,
    Gauge,
    /// How often values lay at or below each of some bounds.
    Histogram,
}

/// What is known of a metric before it has a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: &'static str,
    /// Names of the labels that each sample has a value for.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// A metric with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub definition: &'static Definition,
    pub samples: Vec<Sample>,
}

/// One value, and the labels it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// In the order of the definition's labels.
    pub labels: Vec<String>,
    pub value: Value,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Count(u64),
    Gauge(f64),
    Histogram(Distribution),
}

impl Family {
    /// Of a metric without labels.
    pub fn single(definition: &'static Definition, value: Value) -> Family {
        let mut family = Family::new(definition);
        family.push(Vec::new(), value);
        family
    }

    pub fn new(definition: &'static Definition) -> Family {
        Family {
            definition,
            samples: Vec::new(),
        }
    }

    pub fn push(&mut self, labels: Vec<String>, value: Value) {
        debug_assert_eq!(labels.len(), self.definition.labels.len(), "{}", self.definition.name);
        self.samples.push(Sample { labels, value });
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn value(&self) -> Value {
        Value::Count(self.get())
    }
}

/// Declares a struct of counters and histograms without labels: one line each, its help above it.
#[macro_export]
macro_rules! metrics {
    ($prefix:literal; $($(#[doc = $help:literal])* $name:ident: $kind:ident, $unit:literal;)*) => {
        /// All counters and histograms of this part.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])* pub $name: $crate::metrics::$kind,)*
        }

        impl Metrics {
            /// What there is.
            pub const DEFINITIONS: &'static [$crate::metrics::Definition] = &[$($crate::metrics::Definition {
                name: concat!($prefix, stringify!($name)),
                kind: $crate::metrics::Kind::$kind,
                unit: $unit,
                labels: &[],
                help: concat!($($help),*).trim_ascii(),
            },)*];

            /// How it stands.
            pub fn families(&self) -> Vec<$crate::metrics::Family> {
                let values = [$(self.$name.value(),)*];
                let families = Self::DEFINITIONS.iter().zip(values);
                families.map(|(definition, value)| $crate::metrics::Family::single(definition, value)).collect()
            }
        }
    };
}

/// Declares metrics with labels, or computed when they are asked for: a constant each, and `DEFINITIONS` of all.
#[macro_export]
macro_rules! definitions {
    ($prefix:literal; $($(#[doc = $help:literal])* $constant:ident = $name:literal: $kind:ident, $unit:literal, [$($label:literal),*];)*) => {
        $($(#[doc = $help])*
        pub(crate) static $constant: $crate::metrics::Definition = $crate::metrics::Definition {
            name: concat!($prefix, $name),
            kind: $crate::metrics::Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: concat!($($help),*).trim_ascii(),
        };)*

        /// What there is.
        pub static DEFINITIONS: &[&$crate::metrics::Definition] = &[$(&$constant,)*];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    metrics! {
        "klamm_test_";
        /// Things that were done.
        done: Counter, "things";
        /// How long each took.
        doing_seconds: Histogram, "seconds";
    }

    #[test]
    fn what_is_declared_once_is_counted_and_described() {
        let metrics = Metrics::default();
        metrics.done.add(3);
        metrics.doing_seconds.observe(std::time::Duration::from_millis(2));
        let families = metrics.families();
        let names: Vec<&str> = families.iter().map(|family| family.definition.name).collect();
        assert_eq!(names, ["klamm_test_done", "klamm_test_doing_seconds"]);
        assert_eq!(families[0].definition.help, "Things that were done.");
        assert_eq!(families[0].samples[0].value, Value::Count(3));
        let Value::Histogram(distribution) = &families[1].samples[0].value else {
            panic!("{families:?}");
        };
        assert_eq!((distribution.count(), distribution.sum_seconds), (1, 0.002));
    }
}
