pub mod channel;
pub mod messages;
pub mod peers;
pub mod probe;
