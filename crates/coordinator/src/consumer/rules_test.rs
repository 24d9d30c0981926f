//! The rules of the protocol, one by one, as exact answers and exact records.
