//! Plays packetdrill scripts against the whole stack in virtual time.
//!
//! [`kernel`] gives ustack the face of an operating system: file descriptors and system calls with
//! Linux's semantics and error numbers, on a clock that only the caller moves.

#![forbid(unsafe_code)]

pub mod kernel;
