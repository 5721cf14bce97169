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
