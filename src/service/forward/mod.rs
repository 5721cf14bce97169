//! Forwarding: what the device's clients send to other hosts goes on through the host's own
//! sockets.

// Parts wait for the sockets.
#![allow(dead_code)]

mod mapping;
mod rules;

pub use rules::{Refusal, Rules};
