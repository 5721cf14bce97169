//! The virtio-net header that precedes each frame of a TUN device opened with `IFF_VNET_HDR`
//! (virtio 1.2 §5.1.6, native byte order).

use std::num::NonZeroU16;

use super::gso::Misfit;
use super::{Checksum, Gso, GsoKind, Offload};

/// Length of the header in bytes. The kernel may use a longer one, the rest of which is padding.
pub const LEN: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

const TCP_CWR: u8 = 0x80;

/// `struct virtio_net_hdr`, its fields named as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

impl VnetHeader {
    /// Reads the header's first [`LEN`] bytes.
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// The header as the kernel reads it.
    pub fn to_bytes(self) -> [u8; LEN] {
        let ([a, b], [c, d]) = (self.hdr_len.to_ne_bytes(), self.gso_size.to_ne_bytes());
        let ([e, f], [g, h]) = (
            self.csum_start.to_ne_bytes(),
            self.csum_offset.to_ne_bytes(),
        );
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// The header of a frame to send; `headers` is the beginning of its packet.
    pub fn encode(offload: &Offload, headers: &[u8]) -> Self {
        let mut header = Self::default();
        if let Checksum::Partial { start, offset } = offload.checksum {
            header.flags = F_NEEDS_CSUM;
            header.csum_start = start;
            header.csum_offset = offset;
        }
        if let Some(gso) = offload.gso {
            header.gso_type = match gso.kind {
                GsoKind::TcpV4 => GSO_TCPV4,
                GsoKind::TcpV6 => GSO_TCPV6,
                GsoKind::Udp => GSO_UDP_L4,
            };
            // Without this mark the kernel repeats CWR on every wire segment, which RFC 3168
            // §6.1.2 allows on the first one only.
            let flags = headers.get(usize::from(header.csum_start) + 13);
            if gso.kind != GsoKind::Udp && flags.is_some_and(|flags| flags & TCP_CWR != 0) {
                header.gso_type |= GSO_ECN;
            }
            header.hdr_len = gso.header_len;
            header.gso_size = gso.size.get();
        }
        header
    }

    /// What the kernel says of `packet`. Only `flags`, `gso_type`, `gso_size` and `csum_*` are
    /// believed; `hdr_len` is a hint that may cover payload, so the length is computed anew.
    pub fn decode(self, packet: &[u8]) -> Result<Offload, Misfit> {
        let checksum = if self.flags & F_NEEDS_CSUM != 0 {
            let field = usize::from(self.csum_start) + usize::from(self.csum_offset);
            if field + 2 > packet.len() {
                return Err(Misfit);
            }
            Checksum::Partial {
                start: self.csum_start,
                offset: self.csum_offset,
            }
        } else if self.flags & F_DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::Complete
        };
        let kind = match self.gso_type & !GSO_ECN {
            GSO_NONE => {
                return Ok(Offload {
                    checksum,
                    gso: None,
                });
            }
            GSO_TCPV4 => GsoKind::TcpV4,
            GSO_TCPV6 => GsoKind::TcpV6,
            GSO_UDP_L4 => GsoKind::Udp,
            _ => return Err(Misfit),
        };
        let gso = Gso {
            kind,
            header_len: header_len(kind, checksum, packet)?,
            size: NonZeroU16::new(self.gso_size).ok_or(Misfit)?,
        };
        Ok(Offload {
            checksum,
            gso: Some(gso),
        })
    }
}

fn header_len(kind: GsoKind, checksum: Checksum, packet: &[u8]) -> Result<u16, Misfit> {
    // A super-packet always comes with its checksum unfinished: the cutter finishes it.
    let Checksum::Partial { start, .. } = checksum else {
        return Err(Misfit);
    };
    let transport = usize::from(start);
    let len = match kind {
        GsoKind::Udp => 8,
        GsoKind::TcpV4 | GsoKind::TcpV6 => {
            let data_offset = packet.get(transport + 12).ok_or(Misfit)?;
            usize::from(data_offset >> 4) * 4
        }
    };
    let shortest = if kind == GsoKind::Udp { 8 } else { 20 };
    if len < shortest || transport + len > packet.len() {
        return Err(Misfit);
    }
    u16::try_from(transport + len).map_err(|_| Misfit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gso::tests::{super_datagram, super_segment};

    #[test]
    fn offload_survives_the_header() {
        for frame in [
            super_segment(false, &[1; 5000], 1448),
            super_segment(true, &[1; 5000], 1428),
            super_datagram(&[1; 5000], 1000),
        ] {
            let bytes = VnetHeader::encode(&frame.offload, &frame.data).to_bytes();
            let decoded = VnetHeader::from_bytes(bytes).decode(&frame.data).unwrap();
            assert_eq!(decoded, frame.offload);
        }
        for checksum in [Checksum::Complete, Checksum::Verified] {
            let offload = Offload {
                checksum,
                gso: None,
            };
            // A frame we have verified and one whose checksum is complete need the same: nothing.
            assert_eq!(
                VnetHeader::encode(&offload, &[]).to_bytes(),
                [0; LEN],
                "{checksum:?}"
            );
        }
    }

    #[test]
    fn cwr_is_marked() {
        let frame = super_segment(false, &[1; 5000], 1448);
        assert_eq!(
            VnetHeader::encode(&frame.offload, &frame.data).gso_type,
            GSO_TCPV4 | GSO_ECN
        );
        let datagram = super_datagram(&[0xff; 5000], 1000);
        assert_eq!(
            VnetHeader::encode(&datagram.offload, &datagram.data).gso_type,
            GSO_UDP_L4
        );
    }

    #[test]
    fn data_valid_means_verified() {
        let header = VnetHeader {
            flags: F_DATA_VALID,
            ..VnetHeader::default()
        };
        assert_eq!(header.decode(&[]).unwrap().checksum, Checksum::Verified);
    }

    #[test]
    fn the_length_of_headers_is_computed_not_believed() {
        let frame = super_segment(false, &[1; 5000], 1448);
        let mut header = VnetHeader::encode(&frame.offload, &frame.data);
        header.hdr_len = 9999;
        assert_eq!(
            header.decode(&frame.data).unwrap().gso.unwrap().header_len,
            52
        );
    }

    #[test]
    fn any_header_over_any_packet_is_taken_or_refused_without_panic() {
        let frame = super_segment(false, &[1; 200], 100);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let mut bytes = [0; LEN];
            rng.fill(&mut bytes);
            // Small values, so that many pass the first check.
            bytes[1] &= 0x85;
            bytes[7] = 0;
            bytes[9] = 0;
            let packet = &frame.data[..rng.usize(..frame.data.len())];
            if let Ok(offload) = VnetHeader::from_bytes(bytes).decode(packet)
                && let Some(gso) = offload.gso
            {
                assert!(usize::from(gso.header_len) <= packet.len());
            }
        }
    }
}
