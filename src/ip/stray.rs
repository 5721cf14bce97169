//! Packets of which no port in their headers says for which shard of the host they are: fragments,
//! ICMP errors, echo replies.

use etherparse::IpNumber;
use ustack_tcp::FlowKey;

use super::icmp::{self, HEADER_LEN};
use super::input::Packet;
use super::reassembly::Key;
use super::{Input, Ip, Tuple};
use crate::batch::Frame;

/// What tells the shard of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// A hash of what the fragments of a datagram have in common: all meet at one shard, whichever
    /// queues they came by.
    Fragments(u64),
    /// An echo reply, by the identifier of the request.
    Echo(u16),
    /// An ICMP error: the packet that it quotes, seen from here.
    Report {
        /// IP protocol number.
        protocol: u8,
        /// Its flow; for echo the identifier and 0 as ports.
        flow: FlowKey,
    },
}

impl Ip {
    /// Whether a packet of that flow, other than TCP, was sent lately that a router may refuse.
    pub(crate) fn has_sent(&self, protocol: u8, flow: &FlowKey) -> bool {
        let tuple = Tuple {
            protocol,
            local: flow.local.ip(),
            remote: flow.remote.ip(),
            ports: (flow.local.port(), flow.remote.port()),
        };
        self.sent_flows.is_ours(self.flow_hash(&tuple), 0)
    }

    pub(super) fn stray_fragment(&self, packet: &Packet, key: &Key) -> Option<Input> {
        self.is_undecided(packet)
            .then(|| stray(packet, Kin::Fragments(self.hash.of(key))))
    }

    /// Errors and replies; what is malformed is dealt with where it arrived.
    pub(super) fn stray_icmp(&self, packet: &Packet) -> Option<Input> {
        if !self.is_undecided(packet) {
            return None;
        }
        let bytes = packet.payload();
        let header: [u8; HEADER_LEN] = *bytes.first_chunk()?;
        let is_v4 = packet.protocol == IpNumber::ICMP.0;
        let kin = if icmp::is_echo_reply(header[0], is_v4) {
            Kin::Echo(u16::from_be_bytes([header[4], header[5]]))
        } else if icmp::is_error(header[0], is_v4) {
            let (protocol, flow) = icmp::reported(&bytes[HEADER_LEN..], is_v4)?;
            Kin::Report { protocol, flow }
        } else {
            return None;
        };
        Some(stray(packet, kin))
    }

    fn is_undecided(&self, packet: &Packet) -> bool {
        self.config.shard.1 > 1 && !packet.origin.is_settled
    }
}

fn stray(packet: &Packet, kin: Kin) -> Input {
    Input::Stray {
        frame: Frame {
            data: packet.data.clone(),
            offload: packet.offload,
        },
        loopback: packet.origin.loopback,
        kin,
    }
}
