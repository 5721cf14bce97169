//! The sender's side at the wire: what leaves, how large, and when (RFC 9293 §3.7, §3.8).

mod nagle;
mod path_mtu;
mod patience;
mod peer;
mod sizes;
mod turns;
mod urgent;
mod window;
