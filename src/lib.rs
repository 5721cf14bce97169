//! ustack: a TCP/UDP/IP stack in user space.

pub mod batch;
pub mod checksum;
pub mod device;
pub mod ip;
pub mod service;
