//! The short road out: a segment over IPv4 that is one packet, for a device that completes checksums.
//! All that its headers say is known as numbers.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;

use bytes::Bytes;
use etherparse::IpNumber;
use ustack_tcp::{TxMeta, wire};

use super::{Output, Route};
use crate::batch::{Checksum, Offload};
use crate::checksum::Sum;
use crate::ip::v4::{self, Fragmentation};
use crate::ip::{Tuple, pmtu};

/// So many bytes of text fit a packet, whatever the options are.
const MOST_TEXT: usize = super::MAX_LEN - v4::HEADER_LEN - 60;

impl Output<'_> {
    /// Sends a segment that is of this kind; false for another, of which nothing is sent.
    #[inline]
    pub(super) fn push_plain(
        &mut self,
        meta: &TxMeta<'_>,
        payload: &mut impl Iterator<Item = Bytes>,
    ) -> bool {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (meta.flow.local, meta.flow.remote)
        else {
            return false;
        };
        let (source, destination) = (*local.ip(), *remote.ip());
        let is_plain = meta.gso_size.is_none()
            && self.ip.caps.tx_checksum
            && self.route(destination.into()) == Some(Route::Device)
            && meta.payload_len as usize <= MOST_TEXT;
        if !is_plain {
            return false;
        }
        let tcp = wire::emit(meta.segment, local.port(), remote.port());
        let tcp_len = tcp.len() + meta.payload_len as usize;
        if v4::HEADER_LEN + tcp_len > usize::from(pmtu::FLOOR_V4) {
            self.note_sent(meta);
        }
        let ip = v4::emit(
            source,
            destination,
            IpNumber::TCP.0,
            meta.dscp << 2 | meta.ecn as u8,
            meta.ttl.map_or(self.ip.config.ttl.get(), NonZero::get),
            tcp_len,
            Fragmentation::Never, // DF on every segment (PM-1)
        );
        let ends = (IpAddr::V4(source), IpAddr::V4(destination));
        let sum = Sum::pseudo_header(ends.0, ends.1, IpNumber::TCP.0, tcp_len as u32);
        let headers = self.tx.headers();
        headers.extend_from_slice(&ip);
        let field = headers.len() + usize::from(wire::CHECKSUM_OFFSET);
        headers.extend_from_slice(&tcp);
        if let Some(field) = headers.get_mut(field..field + 2) {
            field.copy_from_slice(&sum.fold().to_be_bytes());
        }
        if meta.payload_len > 0 {
            self.tx.chunks().extend(payload);
        }
        self.ip.counters.out_requests += 1;
        self.tx.finish(Offload {
            checksum: Checksum::Partial {
                start: v4::HEADER_LEN as u16,
                offset: wire::CHECKSUM_OFFSET,
            },
            gso: None,
        });
        true
    }

    /// A router may refuse to take the packet whole, and is believed if it was sent.
    fn note_sent(&mut self, meta: &TxMeta<'_>) {
        let (local, remote) = (meta.flow.local, meta.flow.remote);
        let hash = self.ip.flow_hash(&Tuple {
            protocol: IpNumber::TCP.0,
            local: local.ip(),
            remote: remote.ip(),
            ports: (local.port(), remote.port()),
        });
        let end = meta.segment.seq.wrapping_add(meta.payload_len);
        self.ip.sent_flows.on_sent(hash, end.0);
    }
}
