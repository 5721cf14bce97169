//! The stack that the tests replay into.

use std::net::IpAddr;

use bytes::Bytes;
use replay::Host;
use ustack::batch::{Frame, TxBatch};
use ustack::device::{Caps, Offload};
use ustack::tcp::time::Instant;
use ustack::tcp::{self, Tcp};
use ustack::testing::VirtualHost;
use ustack::udp::Udp;

/// ustack behind a plain device.
pub(crate) struct Stack(VirtualHost);

impl Host for Stack {
    fn new(address: IpAddr, mtu: u16, tcp: tcp::Config) -> Result<Self, String> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let config = ustack::Config::new()
            .address(address, prefix)
            .tcp(tcp)
            .seed([0x5a; 32]);
        let host = VirtualHost::new(config, Caps::plain(mtu)).map_err(|error| error.to_string())?;
        Ok(Self(host))
    }

    fn on_packet(&mut self, now: Instant, data: Bytes) {
        let offload = Offload::default();
        self.0.on_received(now, Frame { data, offload });
    }

    fn on_timeout(&mut self, now: Instant) {
        self.0.on_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Vec<Bytes> {
        let (mut tx, mut packets) = (TxBatch::new(), Vec::new());
        loop {
            self.0.poll_transmit(now, &mut tx);
            if tx.is_empty() {
                return packets;
            }
            packets.extend(tx.iter().map(|frame| frame.to_frame().data));
            tx.clear();
        }
    }

    fn tcp(&mut self) -> &mut Tcp {
        self.0.tcp_mut()
    }

    fn udp(&mut self) -> &mut Udp {
        self.0.udp_mut()
    }
}
