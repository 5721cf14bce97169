//! IP and TCP put together under a clock that the replay moves.

use std::net::IpAddr;

use bytes::Bytes;
use ustack::batch::{Frame, TxBatch};
use ustack::device::{Caps, Offload};
use ustack::ip::{Input, Ip, IpConfig};
use ustack_tcp::time::Instant;
use ustack_tcp::{Config, Tcp};

/// The MTU of every recording.
pub(crate) const MTU: u16 = 1500;
const SEED: [u8; 32] = [0x5a; 32];

pub(crate) struct Host {
    ip: Ip,
    pub(crate) tcp: Tcp,
    out: Vec<Bytes>,
}

impl Host {
    pub(crate) fn new(address: IpAddr, config: Config) -> Self {
        let ip = IpConfig {
            addresses: vec![(address, if address.is_ipv4() { 24 } else { 64 })],
            ..IpConfig::default()
        };
        let caps = Caps {
            mtu: MTU,
            tx_checksum: false,
            tso: false,
            uso: false,
        };
        Self {
            ip: Ip::new(ip, caps, SEED),
            tcp: Tcp::new(config, SEED),
            out: Vec::new(),
        }
    }

    /// A packet arrives. What TCP makes of it shows in what it sends.
    pub(crate) fn on_packet(&mut self, now: Instant, data: Bytes) {
        let frame = Frame {
            data,
            offload: Offload::default(),
        };
        if let Ok(Some(Input::Tcp {
            flow,
            local,
            ecn,
            segment,
            ..
        })) = self.ip.on_frame(now, frame)
        {
            // A dropped segment is a result like any other: the wire tells.
            let _ = self.tcp.on_segment(now, &flow, local, ecn, segment);
        }
    }

    /// Everything that is due goes out.
    pub(crate) fn transmit(&mut self, now: Instant) {
        let mut tx = TxBatch::new();
        loop {
            self.tcp
                .poll_transmit(now, &mut self.ip.output(now, &mut tx));
            self.ip.poll_transmit(now, &mut tx);
            if tx.is_empty() {
                return;
            }
            self.out
                .extend(tx.iter().map(|frame| frame.to_frame().data));
            tx.clear();
        }
    }

    /// What was sent since the last call.
    pub(crate) fn take_output(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }
}
