//! Stories of one replica: events in, the exact effects out.

mod catch_up;
mod disk;
mod follower;
mod isr;
mod leader;
mod random;
mod stage;
