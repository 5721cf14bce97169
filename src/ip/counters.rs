//! What happened to packets, in numbers.

use std::ops::AddAssign;

use crate::metrics::add_fields;

/// Why a packet went no further. One counter each; `Copy`, so that dropping never allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dropped {
    /// No IP version, or a header length, total length or option that cannot be (IP-1, IP-3).
    Header,
    /// Shorter than its header says (IP-1, V6-14).
    Truncated,
    /// The IPv4 header checksum is wrong (IP-2).
    HeaderChecksum,
    /// A source route, refused (IP-9).
    SourceRoute,
    /// A source that no packet from outside has: martian, multicast, broadcast, our own (IP-4).
    Source,
    /// Not to an address of ours, or to one that never is anybody's (IP-4).
    Destination,
    /// To a multicast or broadcast address.
    Multicast,
    /// A protocol or next header that nobody here speaks (UD-5, V6-2).
    UnknownProtocol,
    /// The packet says itself that nothing follows (next header 59, V6-14).
    NoNextHeader,
    /// An IPv6 extension header or option that forbids going on (V6-1 to V6-5).
    ExtensionHeader,
    /// A fragment that does not fit its datagram, or whose datagram is given up (FR-3 to FR-7).
    Fragment,
    /// Not a TCP segment.
    TcpMalformed,
    /// The TCP checksum is wrong.
    TcpChecksum,
    /// Not a UDP datagram (UD-1).
    UdpMalformed,
    /// The UDP checksum is wrong.
    UdpChecksum,
    /// No UDP checksum, over IPv6 (UD-4).
    UdpNoChecksum,
    /// Not an ICMP message, or neighbour discovery from beyond the link (C6-9).
    IcmpMalformed,
    /// The ICMP checksum is wrong (IC-2, C6-1).
    IcmpChecksum,
    /// An ICMP message that asks nothing of this host (IC-2).
    IcmpIgnored,
    /// An ICMP error about something this host has not sent (PM-5).
    IcmpUnsolicited,
    /// An echo request beyond the byte budget, or a reply to a socket that nobody reads.
    EchoLimited,
}

/// Counters of an [`Ip`](super::Ip), IPv4 and IPv6 together, named after RFC 4293, RFC 4443's MIB
/// and Linux's `/proc/net/snmp`.
///
/// Every frame is counted once in `in_receives` and once more in exactly one of `in_delivers`,
/// `reasm_held` and the counters that [`IpCounters::dropped`] sums up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpCounters {
    /// Frames received, from the device and from the loopback.
    pub in_receives: u64,
    /// Packets handed to TCP, UDP or ICMP.
    pub in_delivers: u64,
    /// [`Dropped::Header`].
    pub in_hdr_errors: u64,
    /// [`Dropped::Truncated`].
    pub in_truncated_pkts: u64,
    /// [`Dropped::HeaderChecksum`].
    pub in_csum_errors: u64,
    /// [`Dropped::SourceRoute`].
    pub in_source_routes: u64,
    /// [`Dropped::Source`].
    pub in_martians: u64,
    /// [`Dropped::Destination`].
    pub in_addr_errors: u64,
    /// [`Dropped::Multicast`].
    pub in_mcast_pkts: u64,
    /// [`Dropped::UnknownProtocol`].
    pub in_unknown_protos: u64,
    /// [`Dropped::NoNextHeader`].
    pub in_no_next_header: u64,
    /// [`Dropped::ExtensionHeader`].
    pub in_ext_hdr_errors: u64,
    /// [`Dropped::Fragment`].
    pub reasm_drops: u64,
    /// [`Dropped::TcpMalformed`].
    pub tcp_in_errs: u64,
    /// [`Dropped::TcpChecksum`].
    pub tcp_in_csum_errors: u64,
    /// [`Dropped::UdpMalformed`].
    pub udp_in_errors: u64,
    /// [`Dropped::UdpChecksum`].
    pub udp_in_csum_errors: u64,
    /// [`Dropped::UdpNoChecksum`].
    pub udp_in_no_csum: u64,
    /// [`Dropped::IcmpMalformed`].
    pub icmp_in_errors: u64,
    /// [`Dropped::IcmpChecksum`].
    pub icmp_in_csum_errors: u64,
    /// [`Dropped::IcmpIgnored`].
    pub icmp_in_ignored: u64,
    /// [`Dropped::IcmpUnsolicited`].
    pub icmp_in_unsolicited: u64,
    /// [`Dropped::EchoLimited`].
    pub icmp_echo_limited: u64,

    /// Fragments kept until the rest arrives.
    pub reasm_held: u64,
    /// Fragments received.
    pub reasm_reqds: u64,
    /// Datagrams put together.
    pub reasm_oks: u64,
    /// Datagrams given up: overlap, memory, time.
    pub reasm_fails: u64,
    /// Datagrams given up for time (part of `reasm_fails`).
    pub reasm_timeout: u64,

    /// Packets and super-packets handed to the device or the loopback.
    pub out_requests: u64,
    /// Packets given up on sending: no room in a queue, no source address, too long for IP.
    pub out_discards: u64,
    /// Datagrams cut into fragments.
    pub frag_oks: u64,
    /// Datagrams too large for the path that must not be cut.
    pub frag_fails: u64,
    /// Fragments made.
    pub frag_creates: u64,

    /// ICMP messages received with a right checksum.
    pub icmp_in_msgs: u64,
    /// Echo requests answered.
    pub icmp_in_echos: u64,
    /// ICMP messages queued for sending.
    pub icmp_out_msgs: u64,
    /// ICMP errors not sent: over the limit of one destination.
    pub icmp_out_rate_limit_host: u64,
    /// ICMP errors not sent: over the limit of all together.
    pub icmp_out_rate_limit_global: u64,
    /// Path MTUs lowered by ICMP.
    pub path_mtu_updates: u64,
    /// Times that TCP called a path dead (RFC 9293 §3.8.3).
    pub negative_advice: u64,
}

/// The sum over several shards.
impl AddAssign for IpCounters {
    fn add_assign(&mut self, other: Self) {
        add_fields!(
            self += other {
                in_receives,
                in_delivers,
                in_hdr_errors,
                in_truncated_pkts,
                in_csum_errors,
                in_source_routes,
                in_martians,
                in_addr_errors,
                in_mcast_pkts,
                in_unknown_protos,
                in_no_next_header,
                in_ext_hdr_errors,
                reasm_drops,
                tcp_in_errs,
                tcp_in_csum_errors,
                udp_in_errors,
                udp_in_csum_errors,
                udp_in_no_csum,
                icmp_in_errors,
                icmp_in_csum_errors,
                icmp_in_ignored,
                icmp_in_unsolicited,
                icmp_echo_limited,
                reasm_held,
                reasm_reqds,
                reasm_oks,
                reasm_fails,
                reasm_timeout,
                out_requests,
                out_discards,
                frag_oks,
                frag_fails,
                frag_creates,
                icmp_in_msgs,
                icmp_in_echos,
                icmp_out_msgs,
                icmp_out_rate_limit_host,
                icmp_out_rate_limit_global,
                path_mtu_updates,
                negative_advice
            }
        );
    }
}

impl Dropped {
    /// The reason that `as u8` makes this number of.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        ALL.into_iter().find(|reason| *reason as u8 == code)
    }
}

impl IpCounters {
    /// All frames dropped on the way in.
    pub fn dropped(&self) -> u64 {
        let mut copy = *self;
        ALL.iter().map(|&reason| *copy.of(reason)).sum()
    }

    pub(super) fn on_dropped(&mut self, reason: Dropped) {
        *self.of(reason) += 1;
    }

    fn of(&mut self, reason: Dropped) -> &mut u64 {
        match reason {
            Dropped::Header => &mut self.in_hdr_errors,
            Dropped::Truncated => &mut self.in_truncated_pkts,
            Dropped::HeaderChecksum => &mut self.in_csum_errors,
            Dropped::SourceRoute => &mut self.in_source_routes,
            Dropped::Source => &mut self.in_martians,
            Dropped::Destination => &mut self.in_addr_errors,
            Dropped::Multicast => &mut self.in_mcast_pkts,
            Dropped::UnknownProtocol => &mut self.in_unknown_protos,
            Dropped::NoNextHeader => &mut self.in_no_next_header,
            Dropped::ExtensionHeader => &mut self.in_ext_hdr_errors,
            Dropped::Fragment => &mut self.reasm_drops,
            Dropped::TcpMalformed => &mut self.tcp_in_errs,
            Dropped::TcpChecksum => &mut self.tcp_in_csum_errors,
            Dropped::UdpMalformed => &mut self.udp_in_errors,
            Dropped::UdpChecksum => &mut self.udp_in_csum_errors,
            Dropped::UdpNoChecksum => &mut self.udp_in_no_csum,
            Dropped::IcmpMalformed => &mut self.icmp_in_errors,
            Dropped::IcmpChecksum => &mut self.icmp_in_csum_errors,
            Dropped::IcmpIgnored => &mut self.icmp_in_ignored,
            Dropped::IcmpUnsolicited => &mut self.icmp_in_unsolicited,
            Dropped::EchoLimited => &mut self.icmp_echo_limited,
        }
    }
}

const ALL: [Dropped; 21] = [
    Dropped::Header,
    Dropped::Truncated,
    Dropped::HeaderChecksum,
    Dropped::SourceRoute,
    Dropped::Source,
    Dropped::Destination,
    Dropped::Multicast,
    Dropped::UnknownProtocol,
    Dropped::NoNextHeader,
    Dropped::ExtensionHeader,
    Dropped::Fragment,
    Dropped::TcpMalformed,
    Dropped::TcpChecksum,
    Dropped::UdpMalformed,
    Dropped::UdpChecksum,
    Dropped::UdpNoChecksum,
    Dropped::IcmpMalformed,
    Dropped::IcmpChecksum,
    Dropped::IcmpIgnored,
    Dropped::IcmpUnsolicited,
    Dropped::EchoLimited,
];
