//! A broker's life: the papers of its data directory, registration, the way up, the way down.

pub mod directory;
