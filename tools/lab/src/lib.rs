//! Experiments with congestion control in simulated networks, in virtual time.

pub mod report;
