//! How a setting's value is read from text and written back. Every source speaks text, so there is one reading.

use std::path::PathBuf;

/// A type that a setting may have.
pub trait Value: Sized {
    /// What the reference calls the type.
    const TYPE: &'static str;

    /// Reads the value; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes the value as a source would.
    fn show(&self) -> String;
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const TYPE: &'static str = "integer";

            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("expected an integer from {} to {}", <$type>::MIN, <$type>::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
integer!(i32, u16, u32, u64, usize);

/// A part of a whole, from 0 to 1, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    pub const WHOLE: Ratio = Ratio(1_000_000);

    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl Value for Ratio {
    const TYPE: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(part) if (0.0..=1.0).contains(&part) => Ok(Ratio((part * 1e6).round() as u32)),
            _ => Err("expected a number from 0 to 1".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.as_f64().to_string()
    }
}

impl Value for String {
    const TYPE: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const TYPE: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("expected a path".to_owned())
        } else {
            Ok(PathBuf::from(text))
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Value> Value for Vec<T> {
    const TYPE: &'static str = "list";

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(T::parse)
            .collect()
    }

    fn show(&self) -> String {
        self.iter().map(T::show).collect::<Vec<_>>().join(",")
    }
}

impl<T: Value> Value for Option<T> {
    const TYPE: &'static str = T::TYPE;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_part_of_a_whole() {
        for (text, shown) in [
            ("0", "0"),
            ("1", "1"),
            ("1.0", "1"),
            ("0.01", "0.01"),
            (".5", "0.5"),
            ("1e-6", "0.000001"),
        ] {
            assert_eq!(
                Ratio::parse(text).map(|ratio| ratio.show()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for wrong in ["", "2", "-0.1", "NaN", "inf", "half"] {
            assert!(Ratio::parse(wrong).is_err(), "{wrong}");
        }
    }
}
