//! klamm-testkit
