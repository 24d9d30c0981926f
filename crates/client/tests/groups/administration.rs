//! Groups as an administrator sees them.
