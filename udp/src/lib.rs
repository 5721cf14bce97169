//! `ustack-udp`: the UDP layer of ustack.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
