//! klamm-faults
