//! Random numbers for ids and for the core; from the seed where the controllers are simulated.

use rand::distr::{Distribution, StandardUniform};

pub fn number<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    #[cfg(test)]
    if crate::simulated::is_running() {
        return crate::simulated::number();
    }
    rand::random()
}
