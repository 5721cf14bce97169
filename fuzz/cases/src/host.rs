//! A whole host, watched: every packet that it sends is judged, and every turn is bounded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use ustack::Config;
use ustack::device::{Caps, Frame, Offload, TxBatch, gso};
use ustack::testing::VirtualHost;
use ustack_tcp::time::{Duration, Instant};

use crate::packet::Packet;
use crate::trace::trace;

/// The host's addresses and those of its peer: IPv4, then IPv6.
pub(crate) const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)),
];
pub(crate) const PEER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1)),
];

/// Looks at the ready list that one turn may take; more would be a loop.
const MAX_ROUNDS: usize = 2_000;

/// Packets of one turn; more would be a flood.
const MAX_PACKETS: usize = 20_000;

/// A host on virtual time with everything it sent in the last turn.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) host: VirtualHost,
    pub(crate) now: Instant,
    /// What left in the last turn, judged, and its bytes.
    pub(crate) sent: Vec<(Packet, Vec<u8>)>,
    caps: Caps,
}

impl Watched {
    /// A host at [`HOST`] with these settings of TCP.
    pub(crate) fn new(tcp: ustack_tcp::Config, transparent: bool, caps: Caps) -> Self {
        Self::with_addresses(HOST, tcp, transparent, caps)
    }

    /// The same with these addresses.
    pub(crate) fn with_addresses(
        [v4, v6]: [IpAddr; 2],
        tcp: ustack_tcp::Config,
        transparent: bool,
        caps: Caps,
    ) -> Self {
        let config = Config::new()
            .address(v4, 24)
            .address(v6, 64)
            .transparent(transparent)
            .tcp(tcp)
            .seed([7; 32]);
        Self {
            host: VirtualHost::new(config, caps).expect("settings that work"),
            now: Instant::from_millis(1000),
            sent: Vec::new(),
            caps,
        }
    }

    /// A frame arrives, and the turn that it causes ends. Returns the bytes that left.
    pub(crate) fn on_frame(&mut self, data: &[u8], offload: Offload) -> usize {
        trace(|| {
            format!(
                "{:?} in {} bytes {:?}",
                self.now,
                data.len(),
                Packet::read(data)
            )
        });
        let data = Bytes::copy_from_slice(data);
        self.host.on_received(self.now, Frame { data, offload });
        self.transmit();
        self.sent.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Sends all that is ready.
    pub(crate) fn transmit(&mut self) {
        self.sent.clear();
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "the turn does not end");
            let mut tx = TxBatch::new();
            self.host.poll_transmit(self.now, &mut tx);
            for frame in tx.iter() {
                let mtu = self.caps.mtu;
                let sent = &mut self.sent;
                gso::cut(&frame.to_frame(), |bytes| {
                    trace(|| format!("    out {} bytes {:?}", bytes.len(), Packet::read(&bytes)));
                    sent.push((Packet::judge(&bytes, mtu), bytes));
                })
                .expect("metadata that fit");
            }
            assert!(self.sent.len() < MAX_PACKETS, "the turn floods the wire");
            if !self.host.has_ready() {
                return;
            }
        }
    }

    /// Time goes on by `by`; every deadline until then is a turn. Returns what left, in bytes.
    pub(crate) fn wait(&mut self, by: Duration) -> usize {
        let (end, mut bytes, mut same) = (self.now + by, 0, 0);
        while let Some(at) = self.host.poll_timeout().filter(|&at| at <= end) {
            same = if at <= self.now { same + 1 } else { 0 };
            assert!(same < MAX_ROUNDS, "time stands still at {at:?}");
            self.now = self.now.max(at);
            self.host.on_timeout(self.now);
            self.transmit();
            bytes += self
                .sent
                .iter()
                .map(|(_, bytes)| bytes.len())
                .sum::<usize>();
        }
        self.now = end;
        self.host.on_timeout(self.now);
        self.transmit();
        bytes
            + self
                .sent
                .iter()
                .map(|(_, bytes)| bytes.len())
                .sum::<usize>()
    }

    /// Lets go of everything that TCP holds, waits, and finds nothing left.
    pub(crate) fn end(mut self, listeners: &[ustack_tcp::ListenerId]) {
        for &listener in listeners {
            self.host.tcp_mut().close_listener(self.now, listener);
        }
        let all: Vec<_> = self.host.tcp().connections().map(|one| one.id).collect();
        for id in all {
            self.host.tcp_mut().abort(self.now, id);
            self.host.tcp_mut().release(self.now, id);
        }
        while self.host.tcp_mut().poll_event().is_some() {}
        self.transmit();
        self.wait(Duration::from_secs(1000));
        let tcp = self.host.tcp();
        assert_eq!(tcp.connections().count(), 0, "connections are left");
        assert_eq!(self.host.poll_timeout(), None, "a deadline is left");
        assert_eq!(tcp.timer_entries(), 0, "a timer is left");
        assert!(!self.host.has_ready());
    }
}

/// A port of one of the addresses.
pub(crate) const fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
