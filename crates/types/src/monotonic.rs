//! A value that only grows.

/// Holds a value that refuses to shrink: an epoch, a committed index, a high watermark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic<T>(T);

impl<T: Copy + Ord> Monotonic<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn get(self) -> T {
        self.0
    }

    /// Takes the larger of both; says whether the value grew.
    pub fn raise(&mut self, to: T) -> bool {
        if to > self.0 {
            self.0 = to;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shrinks() {
        let mut value = Monotonic::new(5);
        assert!(!value.raise(4) && !value.raise(5) && value.get() == 5);
        assert!(value.raise(6) && value.get() == 6);
    }
}
