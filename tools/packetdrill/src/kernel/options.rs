//! What a [`Kernel`](super::Kernel) is made of.

use std::net::IpAddr;
use std::time::Duration;

use ustack::tcp::{Config, Pacing, SocketOptions};

/// `TCP_MAX_QUICKACKS`: segments at the start that Linux acknowledges at once.
const QUICK_ACKS: u8 = 16;

/// `TCP_TIMEOUT_MIN_US` beyond two round trips, where these are about as short as a tick.
const MIN_PROBE: Duration = Duration::from_millis(4);

/// Which addresses a script's sockets and packets have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET` sockets, IPv4 packets.
    #[default]
    V4,
    /// `AF_INET6` sockets, IPv6 packets.
    V6,
    /// `AF_INET6` sockets with `::ffff:a.b.c.d` addresses, IPv4 packets.
    V4Mapped,
}

impl Family {
    /// `AF_INET` or `AF_INET6`: what `socket` is called with.
    pub const fn domain(self) -> i32 {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 | Self::V4Mapped => libc::AF_INET6,
        }
    }
}

/// The host under test.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet of its device, in bytes.
    pub mtu: u16,
    /// Emulates a device with TSO: PSH where Linux sets it on the last segment of a burst.
    pub tso: bool,
    /// Settings of TCP.
    pub tcp: Config,
    /// What TCP sockets start with.
    pub socket: SocketOptions,
    /// Secret that ports, ISNs and timestamp offsets come from.
    pub seed: [u8; 32],
}

impl Options {
    /// A plain ustack host with its defaults, without TSO.
    pub fn new(addresses: Vec<(IpAddr, u8)>, mtu: u16) -> Self {
        Self {
            addresses,
            mtu,
            tso: false,
            tcp: Config::default(),
            socket: SocketOptions::default(),
            seed: [7; 32],
        }
    }

    /// What public suites written for Linux take for granted: its device, its sysctl defaults
    /// and its delayed-ACK habits.
    pub fn linux(addresses: Vec<(IpAddr, u8)>, mtu: u16) -> Self {
        let mut options = Self::new(addresses, mtu);
        options.tso = true;
        options.socket.minshall = true;
        options.tcp.pacing = Pacing::Off; // as Linux without `fq`
        options.tcp.quick_acks = QUICK_ACKS;
        options.tcp.timestamps_required = false;
        options.tcp.min_probe = MIN_PROBE;
        options.tcp.rto_granularity = options.tcp.rto_min;
        options.tcp.max_ack_delay = options.tcp.rto_min;
        (options.tcp.recv_buffer_initial, options.tcp.recv_buffer_max) = (131_072, 6 << 20);
        (options.tcp.send_buffer_initial, options.tcp.send_buffer_max) = (16_384, 4 << 20);
        options.tcp.syn_retries = 6;
        options
    }
}
