//! Settings of a stack. Safe for the Internet as they stand; every knob has its RFC's or sysctl's
//! name.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ustack_tcp::memory::Budget;
use ustack_tcp::{CongestionAlgorithm, SocketOptions};

use crate::clock::Clock;
use crate::device::Caps;
use crate::host::LEASES;
use crate::observe::Events;

/// The smallest MTU that IPv4 allows (RFC 791 §3.2), and IPv6 (RFC 8200 §5).
const MIN_MTU: [u16; 2] = [68, 1280];

/// Settings of a [`Stack`](crate::Stack).
///
/// ```
/// let config = ustack::Config::new()
///     .address([10, 77, 0, 2], 24)
///     .congestion(ustack::tcp::CongestionAlgorithm::Reno);
/// assert_eq!(config.addresses.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The host's addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Take in packets to other hosts' addresses, for transparent listeners and sockets.
    pub transparent: bool,
    /// Settings of TCP; `mtu`, `tso` and `gso` are overwritten by what the device
    /// and IP can do.
    pub tcp: ustack_tcp::Config,
    /// What TCP sockets start with, where they do not say.
    pub socket: SocketOptions,
    /// The clock.
    pub clock: Clock,
    /// Secret that ISNs, ports and hash keys come from; `None`: asked from the system.
    pub seed: Option<[u8; 32]>,
    /// Memory of everything on its way between applications and peers, in bytes; see
    /// [`Config::memory`].
    pub memory: Option<usize>,
    /// How long a driver looks for packets at most before it sleeps; see [`Config::busy_poll`].
    pub busy_poll: Duration,
    /// Who hears of what TCP does; see [`Config::events`].
    pub events: Option<Arc<dyn Events>>,
}

impl Config {
    /// The least [memory](Config::memory) that each shard needs, in bytes: the largest segments of
    /// several connections fit.
    pub const MIN_MEMORY: usize = 2 << 20;

    /// The defaults, without any address.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address of the host.
    pub fn address(mut self, address: impl Into<IpAddr>, prefix: u8) -> Self {
        self.addresses.push((address.into(), prefix));
        self
    }

    /// Whether packets to other hosts' addresses are taken in.
    pub fn transparent(mut self, on: bool) -> Self {
        self.transparent = on;
        self
    }

    /// Settings of TCP.
    pub fn tcp(mut self, tcp: ustack_tcp::Config) -> Self {
        self.tcp = tcp;
        self
    }

    /// What TCP sockets start with, where they do not say.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = options;
        self
    }

    /// Congestion control of connections that do not choose (`tcp_congestion_control`).
    pub fn congestion(mut self, algorithm: CongestionAlgorithm) -> Self {
        self.tcp.congestion = algorithm;
        self
    }

    /// The clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes ISNs, ports and hash keys reproducible, for tests. Whoever knows the seed can forge
    /// segments.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Bounds the memory of all that is on its way between applications and peers: TCP's buffers,
    /// the queues of UDP sockets, fragments. `None`, the default: the limits of each connection and
    /// socket are all there are. At least [`Config::MIN_MEMORY`] for each shard.
    ///
    /// Buffers share what there is: while much is free each grows as far as its connection can
    /// use, and when it gets scarce writers wait, windows open less, and what cannot be kept comes
    /// again. [`Stats::memory`](crate::Stats::memory) tells how the budget stands. Connections and
    /// listeners themselves are bounded by their number, not by this.
    ///
    /// ```
    /// let config = ustack::Config::new()
    ///     .address([10, 77, 0, 2], 24)
    ///     .memory(64 << 20);
    /// assert_eq!(config.memory, Some(67_108_864));
    /// ```
    pub fn memory(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.memory = bytes.into();
        self
    }

    /// The budget that so many shards share.
    pub(crate) fn budget(&self, shards: usize) -> Option<Arc<Budget>> {
        let limit = self.memory?;
        Some(Budget::new(limit, LEASES * shards))
    }

    /// Looks for packets again and again, for up to `limit`, before the driver sleeps (zero, the
    /// default: never): 50 µs is much. It saves the microseconds that waking a thread takes, at the
    /// price of a core, nearly all of it while packets come that often, none while they come
    /// seldom: how long it looks follows how soon packets came lately. Where the peer or the
    /// application needs that core, it makes everything slower.
    ///
    /// Other tasks of the runtime go on meanwhile. Needs [`Clock::Monotonic`].
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.busy_poll = limit;
        self
    }

    /// Tells `events` of each packet and of what it changes, of timers, losses and states: an
    /// [`EventLog`](crate::observe::EventLog), say. It is called by the drivers and must not wait.
    pub fn events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = Some(events);
        self
    }

    /// Refuses what cannot work with so many shards, before anything starts.
    pub(crate) fn check(&self, caps: Caps, shards: usize) -> io::Result<()> {
        if self.addresses.is_empty() && !self.transparent {
            return Err(invalid(
                "the stack has no address: add one with Config::address, or set Config::transparent",
            ));
        }
        for &(address, prefix) in &self.addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            if prefix > bits {
                return Err(invalid(format!(
                    "{address}/{prefix}: a prefix of this family has at most {bits} bits"
                )));
            }
            if address.is_unspecified() || address.is_multicast() {
                return Err(invalid(format!(
                    "{address} cannot be a host's address: use a unicast one"
                )));
            }
            let least = MIN_MTU[usize::from(address.is_ipv6())];
            if caps.mtu < least {
                return Err(invalid(format!(
                    "the device's MTU of {} is below the {least} that {address} needs: raise it, or leave the address out",
                    caps.mtu
                )));
            }
        }
        let (first, last) = self.tcp.ephemeral_ports;
        if first == 0 || first > last {
            return Err(invalid(format!(
                "ephemeral ports {first} to {last}: the first must be at least 1 and not above the last"
            )));
        }
        if usize::from(last - first) + 1 < shards {
            return Err(invalid(format!(
                "ephemeral ports {first} to {last}: each of the {shards} shards needs one at least"
            )));
        }
        let each = Self::MIN_MEMORY;
        let least = shards * each;
        if let Some(bytes) = self.memory.filter(|&bytes| bytes < least) {
            return Err(invalid(format!(
                "a memory of {bytes} bytes: {shards} shards need {least} at least, {each} each"
            )));
        }
        if !self.busy_poll.is_zero() && self.clock == Clock::Tokio {
            return Err(invalid(
                "busy polling under virtual time would last for ever: use Clock::Monotonic, or do without",
            ));
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    const CAPS: Caps = Caps {
        mtu: 1000,
        tx_checksum: false,
        tso: false,
        uso: false,
    };

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let cases = [
            (Config::new(), "no address"),
            (Config::new().address([10, 0, 0, 1], 33), "at most 32 bits"),
            (
                Config::new().address([224, 0, 0, 1], 24),
                "cannot be a host's",
            ),
            (
                Config::new().address(Ipv6Addr::LOCALHOST, 64),
                "below the 1280",
            ),
        ];
        for (config, words) in cases {
            let error = config.check(CAPS, 1).expect_err(words);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(words), "{error}");
        }
        let mut backwards = Config::new().address([10, 0, 0, 1], 24);
        backwards.tcp.ephemeral_ports = (2000, 1000);
        assert!(backwards.check(CAPS, 1).is_err());
        let mut few = Config::new().address([10, 0, 0, 1], 24);
        few.tcp.ephemeral_ports = (1000, 1001);
        assert!(few.check(CAPS, 2).is_ok());
        assert!(few.check(CAPS, 3).is_err());
        let little = Config::new().address([10, 0, 0, 1], 24).memory(4 << 20);
        assert!(little.check(CAPS, 2).is_ok());
        let error = little.check(CAPS, 3).unwrap_err().to_string();
        assert!(error.contains("3 shards need 6291456"), "{error}");
        let busy = few.clock(Clock::Tokio).busy_poll(Duration::from_micros(1));
        assert!(busy.check(CAPS, 1).is_err());
        assert!(
            Config::new()
                .address([10, 0, 0, 1], 32)
                .check(CAPS, 1)
                .is_ok()
        );
        assert!(Config::new().transparent(true).check(CAPS, 1).is_ok());
    }
}
