//! From segments and datagrams to frames: headers, checksums, fragments.

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZero, NonZeroU16};

use bytes::Bytes;
use etherparse::IpNumber;
use ustack_tcp::time::Instant;
use ustack_tcp::{Flags, FlowKey, wire};
use ustack_udp::MtuDiscover;

use super::icmp::Message;
use super::v4::Fragmentation;
use super::{Ip, Tuple, pmtu, v4, v6};
use crate::batch::{Checksum, Gso, GsoKind, Offload, TxBatch};
use crate::checksum::Sum;

mod plain;
mod udp;

/// Frames that one turn hands to the device before it looks for input again.
pub const MAX_TX_FRAMES: usize = 128;

/// Of those, what TCP leaves to UDP and ICMP, and UDP to ICMP: a bulk transfer that fills every
/// batch must not starve a ping.
const LEFT_BY_TCP: usize = 32;
const LEFT_BY_UDP: usize = 8;

/// The largest IPv4 packet, and the largest IPv6 payload.
const MAX_LEN: usize = 65_535;

/// Where transports send to: a turn's batch, with IP to write the headers.
#[derive(Debug)]
pub struct Output<'a> {
    ip: &'a mut Ip,
    now: Instant,
    tx: &'a mut TxBatch,
}

/// What the IP header of a packet says.
#[derive(Clone, Copy, Debug)]
struct Envelope {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    traffic_class: u8,
    ttl: u8,
    flow_label: u32,
}

impl Envelope {
    const fn header_len(&self) -> usize {
        match self.source {
            IpAddr::V4(_) => v4::HEADER_LEN,
            IpAddr::V6(_) => v6::HEADER_LEN,
        }
    }

    /// The smallest size that a router may refuse to take whole and be believed.
    const fn floor(&self) -> usize {
        match self.source {
            IpAddr::V4(_) => pmtu::FLOOR_V4 as usize,
            IpAddr::V6(_) => pmtu::FLOOR_V6 as usize,
        }
    }

    /// Whether one packet can carry `len` bytes of transport, headers included.
    const fn can_carry(&self, len: usize) -> bool {
        match self.source {
            IpAddr::V4(_) => len + v4::HEADER_LEN <= MAX_LEN,
            IpAddr::V6(_) => len <= MAX_LEN,
        }
    }

    /// Writes the IP header of a packet with `len` bytes behind it.
    #[inline]
    fn emit(&self, len: usize, fragmentation: Fragmentation, headers: &mut Vec<u8>) {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                headers.extend_from_slice(&v4::emit(
                    source,
                    destination,
                    self.protocol,
                    self.traffic_class,
                    self.ttl,
                    len,
                    fragmentation,
                ));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                headers.extend_from_slice(&v6::emit(
                    source,
                    destination,
                    self.protocol,
                    self.traffic_class,
                    self.flow_label,
                    self.ttl,
                    len,
                ));
            }
            // Callers see to it that both ends are of one family.
            _ => {}
        }
    }

    #[inline]
    fn pseudo_header(&self, len: usize) -> Sum {
        Sum::pseudo_header(self.source, self.destination, self.protocol, len as u32)
    }
}

/// A transport header of eight bytes and what follows it.
struct Body {
    header: [u8; 8],
    /// Where in it the checksum lies.
    checksum_at: usize,
    payload: Bytes,
    /// Whether we may cut the packet.
    mtu_discover: MtuDiscover,
    /// Routers may cut it even when it fits our path.
    is_divisible: bool,
}

impl Body {
    const fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }

    fn set_checksum(&mut self, value: u16) {
        let at = self.checksum_at;
        self.header[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Completes the checksum, over the pseudo-header where the protocol has one.
    fn complete(&mut self, envelope: &Envelope) {
        let mut sum = if envelope.protocol == IpNumber::ICMP.0 {
            Sum::new()
        } else {
            envelope.pseudo_header(self.len())
        };
        sum.add(&self.header);
        sum.add(&self.payload);
        // Zero means "none" in UDP (UD-2), and nowhere may stand for the same sum.
        self.set_checksum(match sum.checksum() {
            0 if envelope.protocol != IpNumber::ICMP.0 => 0xffff,
            checksum => checksum,
        });
    }
}

impl<'a> Output<'a> {
    pub(super) const fn new(ip: &'a mut Ip, now: Instant, tx: &'a mut TxBatch) -> Self {
        Self { ip, now, tx }
    }

    fn room(&self, left: usize) -> usize {
        (MAX_TX_FRAMES - left).saturating_sub(self.tx.len())
    }

    /// What the header of a packet with `len` bytes of transport says, and the keyed hash of its
    /// flow: 0 where nobody needs one, for small IPv4 packets (pure ACKs above all).
    #[inline]
    fn envelope(
        &self,
        tuple: &Tuple,
        traffic_class: u8,
        ttl: Option<u8>,
        len: usize,
    ) -> (Envelope, u64) {
        let is_hashed = tuple.local.is_ipv6() || len + v4::HEADER_LEN > usize::from(pmtu::FLOOR_V4);
        let hash = if is_hashed {
            self.ip.flow_hash(tuple)
        } else {
            0
        };
        let envelope = Envelope {
            source: tuple.local,
            destination: tuple.remote,
            protocol: tuple.protocol,
            traffic_class,
            ttl: ttl.unwrap_or(self.ip.config.ttl.get()),
            // RFC 6437 §3 (V6-15): constant per flow, unpredictable, not zero.
            flow_label: (hash as u32 & 0xf_ffff).max(1),
        };
        (envelope, hash)
    }

    fn discard(&mut self) {
        self.ip.counters.out_discards += 1;
    }

    /// Which way a packet goes, if anywhere.
    #[inline]
    fn route(&self, destination: IpAddr) -> Option<Route> {
        let addresses = &self.ip.addresses;
        if addresses.is_own(destination) {
            return Some(Route::Loopback);
        }
        // RFC 1122 §3.2.1.3: never seen outside a host; and there are no groups on this link.
        addresses.is_unicast(destination).then_some(Route::Device)
    }

    /// Sends the packet whose headers and chunks the batch has.
    #[inline]
    fn send(&mut self, route: Route, offload: Offload) {
        self.ip.counters.out_requests += 1;
        match route {
            Route::Device => self.tx.finish(offload),
            Route::Loopback => self.loop_back(offload),
        }
    }

    fn loop_back(&mut self, offload: Offload) {
        // Verified says more than the checksum fields do: a partial sum would not pass elsewhere.
        let offload = Offload {
            checksum: Checksum::Verified,
            ..offload
        };
        let frame = self.tx.divert(offload, &mut self.ip.pool);
        if !self.ip.loopback.push(frame.data.len(), frame) {
            self.discard();
        }
    }

    /// Sends a datagram or message, whole or in fragments.
    fn send_body(&mut self, envelope: &Envelope, hash: u64, body: Body) {
        let destination = envelope.destination;
        if !envelope.can_carry(body.len()) {
            return self.discard();
        }
        let total_len = envelope.header_len() + body.len();
        if total_len > envelope.floor() {
            self.ip.sent_flows.on_sent(hash, 0);
        }
        let mtu = usize::from(match body.mtu_discover {
            MtuDiscover::Probe => self.ip.caps.mtu,
            _ => self.ip.path_mtu(destination),
        });
        let Some(route) = self.route(destination) else {
            return self.discard();
        };
        if total_len <= mtu || route == Route::Loopback {
            return self.send_whole(route, envelope, body);
        }
        if body.mtu_discover != MtuDiscover::Want {
            self.ip.counters.frag_fails += 1;
            return self.discard();
        }
        self.send_fragments(route, envelope, body, mtu);
    }

    fn send_whole(&mut self, route: Route, envelope: &Envelope, mut body: Body) {
        let fragmentation = if body.is_divisible && envelope.source.is_ipv4() {
            Fragmentation::Piece {
                id: self.next_v4_id(envelope),
                offset: 0,
                more: false,
            }
        } else {
            Fragmentation::Never
        };
        let has_partial = self.ip.caps.tx_checksum && envelope.protocol == IpNumber::UDP.0;
        let checksum = if has_partial {
            body.set_checksum(envelope.pseudo_header(body.len()).fold());
            Checksum::Partial {
                start: envelope.header_len() as u16,
                offset: body.checksum_at as u16,
            }
        } else {
            body.complete(envelope);
            Checksum::Complete
        };
        let headers = self.tx.headers();
        envelope.emit(body.len(), fragmentation, headers);
        headers.extend_from_slice(&body.header);
        if !body.payload.is_empty() {
            self.tx.chunks().push(body.payload);
        }
        let gso = None;
        self.send(route, Offload { checksum, gso });
    }

    fn next_v4_id(&mut self, envelope: &Envelope) -> u16 {
        let Envelope {
            source,
            destination,
            protocol,
            ..
        } = *envelope;
        self.ip.ids.next_v4(source, destination, protocol)
    }

    /// RFC 791 §3.2, RFC 8200 §4.5: pieces of a multiple of eight bytes, none overlapping.
    fn send_fragments(&mut self, route: Route, envelope: &Envelope, mut body: Body, mtu: usize) {
        body.complete(envelope);
        let is_v4 = envelope.source.is_ipv4();
        let overhead = envelope.header_len() + if is_v4 { 0 } else { v6::FRAGMENT_LEN };
        let step = mtu.saturating_sub(overhead) & !7;
        if step == 0 {
            return self.discard();
        }
        let id = if is_v4 {
            u32::from(self.next_v4_id(envelope))
        } else {
            self.ip.ids.next_v6(envelope.source, envelope.destination)
        };
        self.ip.counters.frag_oks += 1;
        for offset in (0..body.len()).step_by(step) {
            let end = (offset + step).min(body.len());
            let more = end < body.len();
            let headers = self.tx.headers();
            emit_fragment_headers(envelope, id, offset, end - offset, more, headers);
            let header_end = body.header.len();
            headers.extend_from_slice(&body.header[offset.min(header_end)..end.min(header_end)]);
            let payload = offset.saturating_sub(header_end)..end.saturating_sub(header_end);
            if !payload.is_empty() {
                self.tx.chunks().push(body.payload.slice(payload));
            }
            self.ip.counters.frag_creates += 1;
            self.send(route, Offload::default());
        }
    }

    /// Sends an ICMP message; its error quotes or echo data may be longer than the path takes.
    pub(super) fn push_icmp(&mut self, message: Message) {
        let protocol = if message.is_v4() {
            IpNumber::ICMP
        } else {
            IpNumber::IPV6_ICMP
        };
        let tuple = Tuple {
            protocol: protocol.0,
            local: message.source,
            remote: message.destination,
            ports: (message.ident(), 0),
        };
        let len = message.header.len() + message.payload.len();
        let (envelope, hash) = self.envelope(&tuple, message.dscp << 2, None, len);
        let body = Body {
            header: message.header,
            checksum_at: 2,
            payload: message.payload,
            mtu_discover: MtuDiscover::Want,
            is_divisible: true,
        };
        self.send_body(&envelope, hash, body);
    }

    /// Our end of a datagram's flow, chosen where the socket left it open.
    fn choose_source(&self, local: SocketAddr, remote: IpAddr) -> Option<IpAddr> {
        if local.ip().is_unspecified() {
            self.ip.source_for(remote)
        } else {
            Some(local.ip()).filter(|ip| ip.is_ipv4() == remote.is_ipv4())
        }
    }

    /// Adds headers and chunks at the end of the batch.
    fn add_packet(&mut self, sum: &mut Sum, headers_at: usize, chunks_at: usize) {
        sum.add(&self.tx.headers()[headers_at..]);
        for chunk in &self.tx.chunks()[chunks_at..] {
            sum.add(chunk);
        }
    }

    /// The checksum and offload of the segment whose headers and chunks stand at the end of the
    /// batch, TCP's from `tcp_at` on.
    #[inline]
    fn seal_tcp(
        &mut self,
        envelope: &Envelope,
        tcp_at: usize,
        (chunks_at, tcp_len): (usize, usize),
        gso: Option<Gso>,
    ) -> Offload {
        let mut sum = envelope.pseudo_header(tcp_len);
        // A super-segment has no checksum of its own: whoever cuts it completes them.
        let is_partial = self.ip.caps.tx_checksum || gso.is_some();
        if !is_partial {
            self.add_packet(&mut sum, tcp_at, chunks_at);
        }
        let (value, checksum) = if is_partial {
            let partial = Checksum::Partial {
                start: envelope.header_len() as u16,
                offset: wire::CHECKSUM_OFFSET,
            };
            (sum.fold(), partial)
        } else {
            (sum.checksum(), Checksum::Complete)
        };
        let field = tcp_at + usize::from(wire::CHECKSUM_OFFSET);
        self.tx.headers()[field..field + 2].copy_from_slice(&value.to_be_bytes());
        Offload { checksum, gso }
    }
}

/// Which way a packet leaves IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Device,
    /// Back to this host.
    Loopback,
}

/// Writes IP header and, for IPv6, fragment header of the piece with `len` bytes at `offset`.
fn emit_fragment_headers(
    envelope: &Envelope,
    id: u32,
    offset: usize,
    len: usize,
    more: bool,
    headers: &mut Vec<u8>,
) {
    if envelope.source.is_ipv4() {
        let id = id as u16;
        let fragmentation = Fragmentation::Piece { id, offset, more };
        return envelope.emit(len, fragmentation, headers);
    }
    let outer = Envelope {
        protocol: v6::FRAGMENT_NEXT_HEADER,
        ..*envelope
    };
    outer.emit(len + v6::FRAGMENT_LEN, Fragmentation::Never, headers);
    headers.extend_from_slice(&v6::emit_fragment(envelope.protocol, offset, more, id));
}

impl Output<'_> {
    /// Sends one segment, or super-segment that somebody else cuts, with `len` bytes of payload.
    #[inline]
    fn send_segment(
        &mut self,
        route: Route,
        envelope: &Envelope,
        tcp: &[u8],
        (payload, len): (impl Iterator<Item = Bytes>, usize),
        gso_size: Option<NonZeroU16>,
    ) {
        let gso = gso_size.map(|size| Gso {
            kind: if envelope.source.is_ipv4() {
                GsoKind::TcpV4
            } else {
                GsoKind::TcpV6
            },
            header_len: (envelope.header_len() + tcp.len()) as u16,
            size,
        });
        let tcp_len = tcp.len() + len;
        let headers = self.tx.headers();
        envelope.emit(tcp_len, Fragmentation::Never, headers);
        let tcp_at = headers.len();
        headers.extend_from_slice(tcp);
        let chunks = self.tx.chunks();
        let chunks_at = chunks.len();
        chunks.extend(payload);
        let offload = self.seal_tcp(envelope, tcp_at, (chunks_at, tcp_len), gso);
        self.send(route, offload);
    }

    /// Sends a super-segment as segments of `size` bytes of payload, for a device that cannot cut
    /// it. FIN and PSH stay on the last one; one with CWR or URG comes alone.
    fn send_cut(
        &mut self,
        envelope: Envelope,
        mut tcp: wire::HeaderBytes,
        (mut payload, len): (impl Iterator<Item = Bytes>, usize),
        size: usize,
    ) {
        let last_flags = tcp[wire::FLAGS_OFFSET];
        let at_end = (Flags::FIN | Flags::PSH).0 as u8;
        let mut seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let mut chunk = Bytes::new();
        for start in (0..len).step_by(size) {
            let text = size.min(len - start);
            let is_last = start + text == len;
            tcp[4..8].copy_from_slice(&seq.to_be_bytes());
            tcp[wire::FLAGS_OFFSET] = if is_last {
                last_flags
            } else {
                last_flags & !at_end
            };
            seq = seq.wrapping_add(text as u32);
            let mut missing = text;
            let pieces = iter::from_fn(|| {
                while missing > 0 && chunk.is_empty() {
                    chunk = payload.next()?;
                }
                let piece = chunk.split_to(missing.min(chunk.len()));
                missing -= piece.len();
                Some(piece).filter(|piece| !piece.is_empty())
            });
            self.send_segment(Route::Device, &envelope, &tcp, (pieces, text), None);
        }
    }
}

impl ustack_tcp::Transmit for Output<'_> {
    fn budget(&self) -> usize {
        self.room(LEFT_BY_TCP)
    }

    fn path_mtu(&self, remote: IpAddr) -> u16 {
        self.ip.path_mtu(remote)
    }

    fn lower_path_mtu(&mut self, remote: IpAddr, mtu: u16) {
        self.ip.lower_path_mtu(self.now, remote, mtu);
    }

    /// There is one way out of this host, and no other gateway to try (RFC 1122 §3.3.1.4): the
    /// advice is counted.
    fn on_negative_advice(&mut self, _remote: IpAddr) {
        self.ip.counters.negative_advice += 1;
    }

    fn push(&mut self, meta: &ustack_tcp::TxMeta<'_>, mut payload: impl Iterator<Item = Bytes>) {
        let before = self.tx.pushed();
        if !self.push_plain(meta, &mut payload) {
            self.push_segment(meta, payload);
        }
        self.tx.note_push(before);
    }
}

impl Output<'_> {
    /// DF on every segment (PM-1); a super-segment stays one frame where the device cuts it.
    fn push_segment(
        &mut self,
        meta: &ustack_tcp::TxMeta<'_>,
        payload: impl Iterator<Item = Bytes>,
    ) {
        let FlowKey { local, remote } = *meta.flow;
        let tuple = Tuple {
            protocol: IpNumber::TCP.0,
            local: local.ip(),
            remote: remote.ip(),
            ports: (local.port(), remote.port()),
        };
        let tcp = wire::emit(meta.segment, local.port(), remote.port());
        let tcp_len = tcp.len() + meta.payload_len as usize;
        let traffic_class = meta.dscp << 2 | meta.ecn as u8;
        let ttl = meta.ttl.map(NonZero::get);
        let (envelope, hash) = self.envelope(&tuple, traffic_class, ttl, tcp_len);
        let gso_size = meta
            .gso_size
            .filter(|size| meta.payload_len > u32::from(size.get()));
        let Some(route) = self.route(envelope.destination) else {
            return self.discard();
        };
        if !envelope.can_carry(tcp_len) {
            return self.discard();
        }
        if envelope.header_len() + tcp_len > envelope.floor() {
            let end = meta.segment.seq.wrapping_add(meta.payload_len);
            self.ip.sent_flows.on_sent(hash, end.0);
        }
        let text = meta.payload_len as usize;
        match gso_size {
            Some(size) if route == Route::Device && !self.ip.caps.tso => {
                self.send_cut(envelope, tcp, (payload, text), size.get().into());
            }
            _ => self.send_segment(route, &envelope, &tcp, (payload, text), gso_size),
        }
    }
}
