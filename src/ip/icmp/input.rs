//! ICMP messages received.

use etherparse::IpNumber;
use ustack_tcp::IcmpError;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::time::Instant;

use super::super::counters::Dropped;
use super::super::input::Packet;
use super::super::{Input, Ip, Tuple, pmtu};
use super::quote::{Quoted, quoted};
use super::{Echo, HEADER_LEN, end};
use crate::checksum::checksum;

impl Ip {
    /// RFC 1122 §3.2.2. Redirects, timestamps, masks, quenches and what is unknown change nothing
    /// (IC-2, MUST-55).
    pub(in super::super) fn on_icmp_v4(
        &mut self,
        now: Instant,
        packet: &Packet,
    ) -> Result<Option<Input>, Dropped> {
        let bytes = packet.payload();
        let header = *bytes.first_chunk().ok_or(Dropped::IcmpMalformed)?;
        if checksum(&bytes) != 0 {
            return Err(Dropped::IcmpChecksum);
        }
        self.counters.icmp_in_msgs += 1;
        match (header[0], header[1]) {
            (super::V4_ECHO, 0) => self.on_echo(now, packet, header),
            (super::V4_ECHO_REPLY, 0) => self.on_echo_reply(packet, header),
            (super::V4_UNREACHABLE | super::V4_TIME_EXCEEDED | super::V4_PARAMETER_PROBLEM, _) => {
                let quoted = quoted(&bytes[HEADER_LEN..], true).ok_or(Dropped::IcmpMalformed)?;
                let error = v4_error(header, quoted.total_len).ok_or(Dropped::IcmpIgnored)?;
                self.on_error(now, packet, &quoted, error)
            }
            _ => Err(Dropped::IcmpIgnored),
        }
    }

    /// RFC 4443 §2.4. Neighbour discovery, MLD and router messages are the link's affair, and this
    /// link has two ends (V6-17).
    pub(in super::super) fn on_icmp_v6(
        &mut self,
        now: Instant,
        packet: &Packet,
    ) -> Result<Option<Input>, Dropped> {
        let bytes = packet.payload();
        let header = *bytes.first_chunk().ok_or(Dropped::IcmpMalformed)?;
        if !packet.is_checksum_right(&bytes) {
            return Err(Dropped::IcmpChecksum);
        }
        self.counters.icmp_in_msgs += 1;
        match (header[0], header[1]) {
            (super::V6_ECHO, 0) => self.on_echo(now, packet, header),
            (super::V6_ECHO_REPLY, 0) => self.on_echo_reply(packet, header),
            (..=super::V6_LAST_ERROR, _) => {
                let quoted = quoted(&bytes[HEADER_LEN..], false).ok_or(Dropped::IcmpMalformed)?;
                self.on_error(now, packet, &quoted, v6_error(header))
            }
            // RFC 4861 §6.1, §7.1, §8.1: no router has passed it on (C6-9).
            (super::ND_FIRST..=super::ND_LAST, _) if packet.ttl != 255 => {
                Err(Dropped::IcmpMalformed)
            }
            _ => Err(Dropped::IcmpIgnored),
        }
    }

    fn on_echo(
        &mut self,
        now: Instant,
        packet: &Packet,
        header: [u8; HEADER_LEN],
    ) -> Result<Option<Input>, Dropped> {
        let [.., ident_high, ident_low, seq_high, seq_low] = header;
        let echo = Echo {
            client: packet.source,
            target: packet.destination,
            ident: u16::from_be_bytes([ident_high, ident_low]),
            seq: u16::from_be_bytes([seq_high, seq_low]),
            dscp: packet.dscp,
            data: packet.data.slice(packet.payload_at + HEADER_LEN..),
        };
        if !packet.local {
            return Ok(Some(Input::EchoForeign(echo)));
        }
        if !self.check_echo(now, &echo) {
            return Err(Dropped::EchoLimited);
        }
        self.counters.icmp_in_echos += 1;
        self.queue_echo_reply(&echo);
        Ok(self.dealt_with())
    }

    fn on_error(
        &mut self,
        now: Instant,
        packet: &Packet,
        quoted: &Quoted,
        error: IcmpError,
    ) -> Result<Option<Input>, Dropped> {
        // Whoever sent the quoted packet is who is told.
        if quoted.source != packet.destination {
            return Err(Dropped::IcmpUnsolicited);
        }
        let error = match error {
            IcmpError::PacketTooBig { mtu } => IcmpError::PacketTooBig {
                mtu: self.on_too_big(now, quoted, mtu)?,
            },
            other => other,
        };
        let is_tcp = quoted.protocol == IpNumber::TCP.0;
        if !is_tcp && quoted.protocol != IpNumber::UDP.0 {
            return match error {
                IcmpError::PacketTooBig { .. } => Ok(self.dealt_with()),
                _ => Err(Dropped::IcmpIgnored),
            };
        }
        let (local_port, remote_port) = quoted.ports();
        Ok(Some(Input::IcmpError {
            protocol: quoted.protocol,
            local: end(quoted.source, local_port),
            remote: end(quoted.destination, remote_port),
            seq: is_tcp.then_some(WireSeq(quoted.seq())),
            error,
        }))
    }

    /// PM-1 to PM-5: lets pass a report about a packet of ours that was larger than what is said
    /// to fit; returns the MTU that it means.
    fn on_too_big(&mut self, now: Instant, quoted: &Quoted, mtu: u16) -> Result<u16, Dropped> {
        let tuple = Tuple {
            protocol: quoted.protocol,
            local: quoted.source,
            remote: quoted.destination,
            ports: quoted.ports(),
        };
        let is_ours = self
            .sent_flows
            .is_ours(self.flow_hash(&tuple), quoted.seq());
        if !is_ours || mtu >= quoted.total_len {
            return Err(Dropped::IcmpUnsolicited);
        }
        let mtu = if quoted.source.is_ipv4() {
            mtu.max(pmtu::FLOOR_V4)
        } else if mtu < pmtu::FLOOR_V6 {
            return Err(Dropped::IcmpUnsolicited);
        } else {
            mtu
        };
        // TCP knows which sizes have arrived, and tells us when it believes the report (BL-9).
        if quoted.protocol != IpNumber::TCP.0 {
            self.lower_path_mtu(now, quoted.destination, mtu);
        }
        Ok(mtu)
    }
}

/// Destination unreachable (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1), time exceeded,
/// parameter problem.
fn v4_error(header: [u8; HEADER_LEN], quoted_len: u16) -> Option<IcmpError> {
    let [kind, code, .., mtu_high, mtu_low] = header;
    Some(match (kind, code) {
        (super::V4_TIME_EXCEEDED, 0 | 1) => IcmpError::TimeExceeded,
        (super::V4_PARAMETER_PROBLEM, _) => IcmpError::ParameterProblem,
        (super::V4_UNREACHABLE, 0 | 5 | 6 | 8 | 11) => IcmpError::NetUnreachable,
        (super::V4_UNREACHABLE, 1 | 7 | 12) => IcmpError::HostUnreachable,
        (super::V4_UNREACHABLE, 2) => IcmpError::ProtocolUnreachable,
        (super::V4_UNREACHABLE, 3) => IcmpError::PortUnreachable,
        (super::V4_UNREACHABLE, 4) => {
            let mtu = match u16::from_be_bytes([mtu_high, mtu_low]) {
                0 => pmtu::plateau_below(quoted_len),
                mtu => mtu,
            };
            IcmpError::PacketTooBig { mtu }
        }
        (super::V4_UNREACHABLE, 9 | 10 | 13 | 14 | 15) => IcmpError::Prohibited,
        _ => return None,
    })
}

/// RFC 4443 §3. Errors that nobody has defined yet are passed on all the same (§2.4 (a), C6-1), as
/// ones that abort nothing.
fn v6_error(header: [u8; HEADER_LEN]) -> IcmpError {
    let [kind, code, _, _, rest @ ..] = header;
    match (kind, code) {
        (super::V6_UNREACHABLE, 0) => IcmpError::NetUnreachable,
        (super::V6_UNREACHABLE, 2 | 3) => IcmpError::HostUnreachable,
        (super::V6_UNREACHABLE, 4) => IcmpError::PortUnreachable,
        (super::V6_UNREACHABLE, 1 | 5 | 6) => IcmpError::Prohibited,
        // RFC 4443 §3.2: the code is ignored.
        (super::V6_TOO_BIG, _) => IcmpError::PacketTooBig {
            mtu: u16::try_from(u32::from_be_bytes(rest)).unwrap_or(u16::MAX),
        },
        (super::V6_TIME_EXCEEDED, 0 | 1) => IcmpError::TimeExceeded,
        (super::V6_PARAMETER_PROBLEM, 1) => IcmpError::ProtocolUnreachable,
        _ => IcmpError::ParameterProblem,
    }
}
