//! Datagrams: one packet or its fragments, or one frame of several.

use std::net::IpAddr;
use std::num::{NonZero, NonZeroU16};

use bytes::Bytes;
use etherparse::IpNumber;
use ustack_udp::wire::{self, HEADER_LEN};
use ustack_udp::{Transmit, TxMeta};

use super::{Body, Envelope, LEFT_BY_UDP, Output};
use crate::batch::{Checksum, Gso, GsoKind, Offload};
use crate::ip::Tuple;
use crate::ip::icmp;
use crate::ip::v4::Fragmentation;

/// Where the checksum lies in a UDP header.
const CHECKSUM: usize = 6;

impl Transmit for Output<'_> {
    fn budget(&self) -> usize {
        self.room(LEFT_BY_UDP)
    }

    fn path_mtu(&self, remote: IpAddr) -> u16 {
        self.ip.path_mtu(remote)
    }

    /// DF on what fits the path, so that its MTU is learnt; fragments on what does not.
    fn push(&mut self, meta: &TxMeta, payload: Bytes) {
        let len = HEADER_LEN + payload.len();
        let Some((envelope, hash)) = self.udp_envelope(meta, len) else {
            return self.discard();
        };
        let ports = (meta.local.port(), meta.remote.port());
        let body = Body {
            header: wire::emit(ports.0, ports.1, payload.len()),
            checksum_at: CHECKSUM,
            payload,
            mtu_discover: meta.mtu_discover,
            is_divisible: false,
        };
        self.send_body(&envelope, hash, body);
    }

    fn can_join(&self, remote: IpAddr) -> bool {
        self.ip.caps.uso || self.ip.is_local(remote)
    }

    /// One frame with the headers of one large datagram: whoever cuts it writes the lengths and
    /// completes the checksums. DF, as every segment fits the path.
    fn push_joined(
        &mut self,
        meta: &TxMeta,
        segment_size: NonZeroU16,
        payload: impl Iterator<Item = Bytes>,
    ) {
        let chunks = self.tx.chunks();
        let chunks_at = chunks.len();
        chunks.extend(payload);
        let payload_len: usize = chunks[chunks_at..].iter().map(Bytes::len).sum();
        let len = HEADER_LEN + payload_len;
        let way = self
            .udp_envelope(meta, len)
            .filter(|(envelope, _)| envelope.can_carry(len))
            .and_then(|(envelope, hash)| Some((self.route(envelope.destination)?, envelope, hash)));
        let Some((route, envelope, hash)) = way else {
            self.tx.chunks().truncate(chunks_at);
            return self.discard();
        };
        let start = envelope.header_len();
        if start + HEADER_LEN + usize::from(segment_size.get()) > envelope.floor() {
            self.ip.sent_flows.on_sent(hash, 0);
        }
        let mut header = wire::emit(meta.local.port(), meta.remote.port(), payload_len);
        let sum = envelope.pseudo_header(len).fold();
        header[CHECKSUM..].copy_from_slice(&sum.to_be_bytes());
        let headers = self.tx.headers();
        envelope.emit(len, Fragmentation::Never, headers);
        headers.extend_from_slice(&header);
        let offload = Offload {
            checksum: Checksum::Partial {
                start: start as u16,
                offset: CHECKSUM as u16,
            },
            gso: Some(Gso {
                kind: GsoKind::Udp,
                header_len: (start + HEADER_LEN) as u16,
                size: segment_size,
            }),
        };
        self.send(route, offload);
    }
}

impl Output<'_> {
    /// What the header of a datagram's packet says, `len` bytes behind it; `None` when we have no
    /// address to send it from. The hash is [`Output::envelope`]'s.
    fn udp_envelope(&self, meta: &TxMeta, len: usize) -> Option<(Envelope, u64)> {
        let tuple = Tuple {
            protocol: IpNumber::UDP.0,
            local: self.choose_source(meta.local, meta.remote.ip())?,
            remote: meta.remote.ip(),
            ports: (meta.local.port(), meta.remote.port()),
        };
        let traffic_class = meta.dscp << 2 | meta.ecn & 3;
        let ttl = meta.ttl.map(NonZero::get);
        Some(self.envelope(&tuple, traffic_class, ttl, len))
    }
}

const _: () = assert!(icmp::HEADER_LEN == HEADER_LEN);
