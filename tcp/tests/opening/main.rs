//! Opening and ending at the wire: handshakes of all kinds, cookies, TIME-WAIT, ports and ISNs.

mod addresses;
mod cookies;
mod ecn;
mod fast_open;
mod fast_open_client;
mod handshake;
mod host;
mod listen;
mod negotiation;
mod numbers;
mod orphans;
mod time_wait;
