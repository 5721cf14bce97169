//! What datagrams and fragments take of the stack's budget of memory. TCP has a lease of its own.

use std::sync::Arc;

use ustack_tcp::memory::{Budget, Charge, Lease};
use ustack_tcp::time::{Duration, Instant};

use super::Host;
use crate::metrics::MemoryStats;

/// How often sockets that wait look at a budget that others may have freed.
const RETRY: Duration = Duration::from_millis(10);

/// What a datagram may take, or all fragments of one.
const LARGEST: usize = 64 << 10;

/// Leases of each shard: TCP's, and this one.
pub(crate) const LEASES: usize = 2;

/// The lease of a shard for all that is not TCP.
#[derive(Debug)]
pub(crate) struct Memory {
    lease: Lease,
    /// What the lease was told last.
    charged: Charge,
    /// When to look again whether there is memory for who waits.
    retry_at: Option<Instant>,
}

impl Memory {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            lease: Lease::new(Arc::clone(budget)),
            charged: Charge::default(),
            retry_at: None,
        }
    }

    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl Host {
    /// Tells the budget what is queued, and the queues how much more that may become. Comes after
    /// whatever may have changed the one or the other.
    pub(super) fn settle_memory(&mut self, now: Instant) {
        let Some(memory) = &mut self.memory else {
            return;
        };
        let fragments = self.ip.fragment_memory();
        let (sent, received) = self.udp.charged();
        let charged = Charge {
            sent,
            received: received + fragments,
        };
        let lease = &mut memory.lease;
        lease.settle(memory.charged, charged);
        memory.charged = charged;
        lease.stock(LARGEST);
        let (receivable, limit) = (lease.receivable(lease.limit() / 16), lease.limit());
        let for_fragments = receivable.min(lease.available().saturating_sub(limit / 8));
        self.ip.limit_fragments(fragments + for_fragments);
        self.udp
            .limit_memory(sent + lease.writable(), received + receivable);
        memory.retry_at = self.udp.is_starved().then(|| now + RETRY);
    }

    pub(super) fn memory_stats(&self) -> MemoryStats {
        let (Some(memory), Some(tcp)) = (&self.memory, self.tcp.memory()) else {
            return MemoryStats::default();
        };
        let fragments = self.ip.fragment_memory();
        let (sent, received) = self.udp.charged();
        MemoryStats {
            limit: memory.lease.limit(),
            used: tcp.used + sent + received + fragments,
            tcp: tcp.used,
            udp: sent + received,
            fragments,
            shards_under_pressure: usize::from(tcp.under_pressure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder};
    use ustack_udp::{BindOptions, SocketId};

    use super::*;
    use crate::config::Config;
    use crate::device::Caps;
    use crate::testing::VirtualHost;

    const US: [u8; 4] = [10, 0, 0, 2];
    const THEM: [u8; 4] = [10, 0, 0, 1];

    fn host() -> (VirtualHost, SocketId) {
        let config = Config::new().address(US, 24).memory(2 << 20);
        let mut host = VirtualHost::new(config, Caps::plain(1500)).expect("it works");
        let mut bind = BindOptions::new((Ipv4Addr::from(US), 9).into());
        bind.recv_buffer = 64 << 20;
        let id = host.udp_mut().bind(bind).expect("a free port");
        (host, id)
    }

    fn datagram(len: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(THEM, US, 64).udp(1000, 9);
        let written = builder.write(&mut packet, &vec![7; len]);
        written.expect("a vector takes it");
        packet
    }

    /// The first half of a datagram that never comes whole.
    fn fragment(id: u16) -> Vec<u8> {
        let mut packet = datagram(1400);
        let (mut header, _) = Ipv4Header::from_slice(&packet).expect("our own");
        (header.identification, header.more_fragments) = (id, true);
        (header.dont_fragment, header.fragment_offset) = (false, IpFragOffset::ZERO);
        header.header_checksum = header.calc_header_checksum();
        packet[..20].copy_from_slice(&header.to_bytes());
        packet
    }

    /// The queue of a socket may hold 64 MiB, all memory is two.
    #[test]
    fn datagrams_and_fragments_keep_within_the_budget() {
        let (mut host, id) = host();
        let now = Instant::from_millis(1);
        for n in 0..4_000 {
            host.on_frame(now, &datagram(1000));
            host.on_frame(now, &fragment(n));
            let memory = host.stats().memory;
            assert!(memory.used <= memory.limit, "{memory:?}");
        }
        let stats = host.stats();
        let memory = stats.memory;
        assert!(memory.used > memory.limit / 2, "{memory:?}");
        assert!(memory.udp > 0 && memory.fragments > 0, "{memory:?}");
        assert_eq!(memory.udp + memory.fragments, memory.used);
        assert!(stats.udp.mem_errors > 0, "{:?}", stats.udp);
        while let Ok(Some(_)) = host.udp_mut().recv(id) {}
        host.on_timeout(now + Duration::from_secs(120));
        host.on_frame(now, &datagram(10));
        assert_eq!(host.stats().udp.mem_errors, stats.udp.mem_errors);
        assert!(matches!(host.udp_mut().recv(id), Ok(Some(_))));
        assert_eq!(host.stats().memory.used, 0);
    }
}
