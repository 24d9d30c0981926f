//! klamm-kafka
