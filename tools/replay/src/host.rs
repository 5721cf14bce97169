//! What the replay needs of the stack that it stands in for a recorded end.

use std::net::IpAddr;

use bytes::Bytes;
use ustack_tcp::time::Instant;
use ustack_tcp::{Config, Tcp};
use ustack_udp::Udp;

/// A whole host on the caller's time: packets in and out, timers, and the calls of applications.
///
/// The replay asks for no more of a stack than this, so that the stack's own program can replay.
pub trait Host: Sized {
    /// A host with one address behind a plain device. Its secrets are the same each time.
    fn new(address: IpAddr, mtu: u16, config: Config) -> Result<Self, String>;

    /// A packet arrives. What the host makes of it shows in what it sends.
    fn on_packet(&mut self, now: Instant, packet: Bytes);

    /// Deals with every deadline up to `now`.
    fn on_timeout(&mut self, now: Instant);

    /// Everything that is to leave now.
    fn poll_transmit(&mut self, now: Instant) -> Vec<Bytes>;

    /// TCP, to call as an application does.
    fn tcp(&mut self) -> &mut Tcp;

    /// UDP, to call as an application does.
    fn udp(&mut self) -> &mut Udp;
}

/// The MTU of every recording.
pub(crate) const MTU: u16 = 1500;
