//! Experiments with the real stack in simulated networks, in virtual time.
//!
//! A file says what network there is, who sends through it, and what is varied
//! ([`Experiment::parse`]); every run of it is a simulation of hosts with the real `ustack-tcp`,
//! `ustack-udp` and IP, joined by the link model of [`ustack::device::impair`] ([`sim::run`]). What
//! comes out is a [`Recording`]: plain data, rendered by [`render`], [`tables`] and [`csv`].
//!
//! Simulated time has nothing to do with the clock, and all randomness comes from the seed: the
//! same experiment gives the same recording to the bit on every machine.

pub mod app;
pub mod builtin;
pub mod csv;
pub mod file;
pub mod recording;
pub mod render;
pub mod runner;
pub mod scenario;
pub mod sim;
pub mod tables;
pub mod units;

pub use file::{Experiment, FileError, Point};
pub use recording::Recording;
pub use runner::{Options, Progress};
