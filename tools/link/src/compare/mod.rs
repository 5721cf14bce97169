//! Senders side by side: each crosses the same path, with the same losses by packet number, to a
//! receiver that is always this machine's kernel.

pub mod cell;
pub mod receiver;
pub mod report;
pub mod run;
pub mod sender;
mod smoltcp;
mod snmp;
mod ustack;
