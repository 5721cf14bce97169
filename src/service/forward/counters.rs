//! What the forwarder counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a forwarder, while it runs.
        #[derive(Debug, Default)]
        pub struct ForwardCounters {
            $(pub(super) $name: Counter,)*
        }

        /// Counters of a forwarder, at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ForwardStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl ForwardCounters {
            /// All of them, now.
            pub fn stats(&self) -> ForwardStats {
                ForwardStats { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// TCP connections relayed.
    tcp_relayed,
    /// SYNs answered with RST because the upstream did.
    tcp_refused,
    /// SYNs answered with ICMP unreachable because the upstream could not be reached.
    tcp_unreachable,
    /// SYNs dropped because of a limit, ours or the system's.
    tcp_dropped,
    /// Connections that ended with a reset, of either side.
    tcp_reset,
    /// Bytes from clients to upstreams.
    tcp_bytes_up,
    /// Bytes from upstreams to clients.
    tcp_bytes_down,
    /// SYNs, datagrams and echo requests to destinations that the rules refuse.
    prohibited,
    /// UDP mappings made.
    udp_mappings,
    /// UDP mappings given up for newer ones.
    udp_evicted,
    /// Datagrams from clients passed on.
    udp_up,
    /// Datagrams to clients passed on.
    udp_down,
    /// Datagrams dropped, in either direction.
    udp_dropped,
    /// ICMP errors about datagrams, passed on to clients.
    udp_unreachable,
    /// Echo requests passed on.
    icmp_up,
    /// Echo replies passed on.
    icmp_down,
}

/// One counter, on a cache line of its own: all shards count here.
#[derive(Debug, Default)]
pub(super) struct Counter(CachePadded<AtomicU64>);

impl Counter {
    /// One more.
    pub(super) fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
