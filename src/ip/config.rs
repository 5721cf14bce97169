//! Settings of the IP layer.

use std::net::IpAddr;
use std::num::NonZeroU8;

/// Settings of an [`Ip`](super::Ip), named after Linux's sysctls where there is one.
#[derive(Clone, Debug)]
pub struct IpConfig {
    /// This host's addresses, each with its prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Accept packets to other hosts' addresses too.
    pub transparent: bool,
    /// TTL and hop limit of packets whose transport does not choose (`ip_default_ttl`).
    pub ttl: NonZeroU8,
    /// Memory of all datagrams under reassembly, in bytes (`ipfrag_high_thresh`).
    pub reassembly_memory: usize,
    /// Memory of one source's datagrams under reassembly, in bytes.
    pub reassembly_memory_per_source: usize,
    /// ICMP errors per second in all (`icmp_msgs_per_sec`).
    pub icmp_errors_per_second: u32,
    /// ICMP errors at once in all (`icmp_msgs_burst`).
    pub icmp_errors_burst: u32,
    /// ICMP errors per second to one destination, and as many at once.
    pub icmp_errors_per_destination: u32,
    /// Bytes of echo replies per second; half a second's worth at once.
    pub echo_bytes_per_second: u32,
    /// Paths whose MTU is remembered.
    pub path_mtu_entries: usize,
    /// Bytes waiting on the internal loopback, and likewise in ICMP messages to send.
    pub queue_memory: usize,
    /// Which shard of the host this is, and how many there are. All have the same seed, and share
    /// out packet identifiers and those of ping sockets by the remainder.
    pub shard: (u16, u16),
}

impl Default for IpConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            transparent: false,
            ttl: NonZeroU8::MIN.saturating_add(63),
            reassembly_memory: 4 << 20,
            reassembly_memory_per_source: 1 << 20,
            icmp_errors_per_second: 1000,
            icmp_errors_burst: 50,
            icmp_errors_per_destination: 10,
            echo_bytes_per_second: 64 << 20,
            path_mtu_entries: 4096,
            queue_memory: 4 << 20,
            shard: (0, 1),
        }
    }
}
