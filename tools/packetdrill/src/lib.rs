//! Plays packetdrill scripts against the whole stack in virtual time.
//!
//! [`kernel`] gives ustack the face of an operating system: file descriptors and system calls with
//! Linux's semantics and error numbers, on a clock that only the caller moves. [`run`] plays a
//! script against one.

#![forbid(unsafe_code)]

mod code;
pub mod files;
pub mod kernel;
mod options;
mod report;
mod runner;
mod symbols;
mod tcp_info;

pub use kernel::Family;
pub use options::{Addresses, Options, Suite, Tolerance};
pub use report::{Report, Row, Verdict};
pub use runner::run;
