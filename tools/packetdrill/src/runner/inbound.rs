//! Packets that arrive.

use std::net::{IpAddr, SocketAddr};

use ustack::tcp::testing::script::ast::{Body, IcmpLine, PacketLine, Quote, TcpLine, Tos, flag};
use ustack::tcp::testing::script::render;
use ustack::tcp::testing::script::wire::{IpFields, encode_ip, encode_tcp, encode_udp};

use super::calls::Pending;
use super::flow::Flow;
use super::{Result, Runner, failed, not_runnable};
use crate::kernel::Blocking;

/// Bytes of a datagram that an ICMPv4 error quotes, after the IP header.
const QUOTED: usize = 8;

impl Runner<'_> {
    /// A packet of the script arrives.
    pub(super) fn inject(&mut self, packet: &PacketLine) -> Result<()> {
        if let Some(header) = &packet.encapsulation {
            return Err(not_runnable(format!("packets with {header}")));
        }
        self.collect();
        let bytes = match &packet.body {
            Body::Tcp(line) => self.segment(packet, line),
            Body::Udp { ports, len } => {
                let (src, dst) = ports.unwrap_or((self.settings.connect_port, self.udp_port()));
                let body = encode_udp(src, dst, *len);
                encode_ip(&self.ip_fields(packet), 17, body)
            }
            Body::Icmp(icmp) => {
                let (protocol, body) = self.icmp(icmp)?;
                encode_ip(&self.ip_fields(packet), protocol, body)
            }
        };
        let text = render::describe(packet);
        self.row('<', text.clone(), text);
        match (&packet.body, self.settings.mss) {
            (Body::Tcp(line), Some(mss)) if line.len > u32::from(mss.get()) => {
                let header_len = bytes.len() - line.len as usize;
                self.kernel.inject_merged(&bytes, header_len as u16, mss);
            }
            _ if self.has_opening() => {
                self.kernel.inject_held(&bytes);
                self.retry()?;
                self.kernel.flush();
            }
            _ => self.kernel.inject(&bytes),
        }
        self.collect();
        Ok(())
    }

    /// Whether somebody has data for a connection that is not open yet.
    fn has_opening(&self) -> bool {
        self.background.iter().any(Blocking::is_opening)
            || self.pending.as_ref().is_some_and(Pending::is_opening)
    }

    fn ip_fields(&self, packet: &PacketLine) -> IpFields {
        let tos = match packet.ip.tos {
            None => 0,
            Some(Tos::Ect) => 2,
            Some(Tos::Ecn(byte) | Tos::Byte(byte)) => byte,
        };
        let (src, dst) = match self.flows.last() {
            Some(flow) => (flow.remote.ip(), flow.local.ip()),
            None => (self.addresses.remote, self.addresses.local),
        };
        IpFields {
            src,
            dst,
            tos,
            ttl: packet.ip.ttl.unwrap_or(255),
            flow_label: packet.ip.flow_label.unwrap_or(0),
        }
    }

    fn segment(&mut self, packet: &PacketLine, line: &TcpLine) -> Vec<u8> {
        let opens = line.has(flag::SYN) && !line.has(flag::ACK);
        if self.flows.is_empty() || (opens && self.has_listened) {
            self.open_flow();
        }
        let peer_isn = self.options.peer_isn;
        let fields = self.ip_fields(packet);
        let Some(flow) = self.flows.last_mut() else {
            return Vec::new();
        };
        let mut wire = flow.on_wire(line, peer_isn);
        self.cookies.on_wire(&mut wire);
        let (src, dst) = line
            .ports
            .unwrap_or((flow.remote.port(), flow.local.port()));
        let mut segment = encode_tcp(src, dst, &wire);
        self.fill_payload(line, &mut segment);
        encode_ip(&fields, 6, segment)
    }

    /// The peer begins a connection, from a port that it did not use before.
    fn open_flow(&mut self) {
        let Some(port) = self.next_port.checked_add(1) else {
            return;
        };
        let remote = SocketAddr::new(self.addresses.remote, self.next_port);
        let local = SocketAddr::new(self.addresses.local, self.settings.bind_port);
        self.next_port = port;
        self.has_listened = false;
        let flow = Flow::new(local, remote, self.options.peer_isn);
        self.flows.push(flow);
    }

    /// The port of the newest datagram socket.
    fn udp_port(&self) -> u16 {
        let port = self
            .last_fd
            .and_then(|fd| self.files.get(&fd))
            .and_then(|fd| self.kernel.local_addr(*fd).ok())
            .map(|local| local.port());
        port.filter(|port| *port != 0)
            .unwrap_or(self.settings.bind_port)
    }

    /// An ICMP message about a packet of ours; its protocol number and bytes.
    fn icmp(&self, icmp: &IcmpLine) -> Result<(u8, Vec<u8>)> {
        let is_v6 = self.ip_is_v6();
        let Some((kind, code)) = numbers(icmp, is_v6) else {
            return Err(not_runnable(format!("icmp {} {:?}", icmp.kind, icmp.code)));
        };
        let mut body = vec![kind, code, 0, 0];
        let mtu = icmp.mtu.unwrap_or(0);
        match icmp.id {
            Some(id) => body.extend((u32::from(id) << 16).to_be_bytes()),
            None => body.extend(mtu.to_be_bytes()),
        }
        match icmp.quote {
            Some(Quote::Raw(len)) => body.resize(body.len() + usize::from(len), 0),
            Some(Quote::Udp(len)) => body.extend(self.quoted_udp(len)),
            Some(Quote::Tcp { seq, len }) => body.extend(self.quoted_tcp(seq, len)?),
            None if self.flows.is_empty() => {}
            None => body.extend(self.quoted_tcp(0, 0)?),
        }
        Ok((if is_v6 { 58 } else { 1 }, body))
    }

    fn ip_is_v6(&self) -> bool {
        self.addresses.local.is_ipv6()
    }

    /// The start of a segment of ours, as it passed a router.
    fn quoted_tcp(&self, seq: u32, len: u32) -> Result<Vec<u8>> {
        let Some(flow) = self.flows.last() else {
            return failed("there is no connection to quote");
        };
        let line = TcpLine {
            ports: None,
            flags: flag::ACK,
            ae: false,
            seq: seq.wrapping_add(flow.local_isn.unwrap_or(0)),
            any_seq: false,
            raw_seq: false,
            len,
            ack: Some(flow.remote_isn.wrapping_add(1)),
            window: Some(65_535),
            urgent: None,
            options: None,
        };
        let body = encode_tcp(flow.local.port(), flow.remote.port(), &line);
        Ok(self.quoted(flow.local.ip(), flow.remote.ip(), 6, body))
    }

    fn quoted_udp(&self, len: u16) -> Vec<u8> {
        let body = encode_udp(self.udp_port(), self.settings.connect_port, len);
        self.quoted(self.addresses.local, self.addresses.remote, 17, body)
    }

    fn quoted(&self, src: IpAddr, dst: IpAddr, protocol: u8, body: Vec<u8>) -> Vec<u8> {
        let fields = IpFields {
            src,
            dst,
            tos: 0,
            ttl: 64,
            flow_label: 0,
        };
        let mut packet = encode_ip(&fields, protocol, body);
        let header = if self.ip_is_v6() { 40 } else { 20 };
        packet.truncate(header + QUOTED);
        packet
    }
}

/// The type and code of a message (RFC 792, RFC 1122 §3.2.2.1, RFC 4443).
fn numbers(icmp: &IcmpLine, is_v6: bool) -> Option<(u8, u8)> {
    let kind = type_number(&icmp.kind, is_v6)?;
    let Some(code) = icmp.code.as_deref() else {
        return Some((kind, 0));
    };
    Some((kind, code_number(code, is_v6)?))
}

fn type_number(name: &str, is_v6: bool) -> Option<u8> {
    Some(match (name, is_v6) {
        ("unreachable", false) | ("time_exceeded", true) => 3,
        ("unreachable", true) => 1,
        ("packet_too_big", true) => 2,
        ("time_exceeded", false) => 11,
        ("parameter_problem", false) => 12,
        ("parameter_problem", true) | ("source_quench", false) => 4,
        ("redirect", false) => 5,
        ("echo_request", false) => 8,
        ("echo_request", true) => 128,
        ("echo_reply", false) => 0,
        ("echo_reply", true) => 129,
        ("router_advertisement", false) => 9,
        ("router_advertisement", true) => 134,
        ("timestamp_request", false) => 13,
        ("timestamp_reply", false) => 14,
        ("information_request", false) => 15,
        ("information_reply", false) => 16,
        ("address_mask_request", false) => 17,
        ("address_mask_reply", false) => 18,
        (other, _) => other.strip_prefix("type_")?.parse().ok()?,
    })
}

fn code_number(name: &str, is_v6: bool) -> Option<u8> {
    if let Some(number) = name.strip_prefix("code_") {
        return number.parse().ok();
    }
    let v4 = [
        "net_unreachable",
        "host_unreachable",
        "protocol_unreachable",
        "port_unreachable",
        "frag_needed",
        "source_route_failed",
        "net_unknown",
        "host_unknown",
        "source_host_isolated",
        "net_prohibited",
        "host_prohibited",
        "net_unreachable_for_tos",
        "host_unreachable_for_tos",
        "packet_filtered",
        "precedence_violation",
        "precedence_cutoff",
    ];
    let v6 = [
        "no_route",
        "admin_prohibited",
        "not_neighbour",
        "address_unreachable",
        "port_unreachable",
    ];
    let list: &[&str] = if is_v6 { &v6 } else { &v4 };
    Some(match name {
        "ttl_exceeded_in_transit" | "exceeded_hop_limit" | "header_field" => 0,
        "frag_reass_exceeded" | "exceeded_frag_time" | "unknown_next_header" => 1,
        "unknown_option" => 2,
        other => list.iter().position(|name| *name == other)? as u8,
    })
}
