//! The UDP header: parse (never panics) and build.

use bytes::Bytes;
use etherparse::{UdpHeader, UdpHeaderSlice};

/// Bytes of a UDP header.
pub const HEADER_LEN: usize = 8;

/// A datagram apart from its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The sender's port; 0 when it expects no answer.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The checksum field; 0 means that the sender computed none.
    pub checksum: u16,
    /// The datagram with its header, trimmed to the length field: what the checksum covers.
    pub datagram: Bytes,
}

impl Parsed {
    /// The payload, a slice of what was parsed.
    pub fn payload(&self) -> Bytes {
        self.datagram.slice(HEADER_LEN..)
    }
}

/// The length field is below eight, beyond the packet, or there is no whole header (UD-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a datagram from an IP payload; what lies behind the length field's end is cut off.
pub fn parse(bytes: &Bytes) -> Result<Parsed, Malformed> {
    let header = UdpHeaderSlice::from_slice(bytes).map_err(|_| Malformed)?;
    let len = usize::from(header.length());
    if len < HEADER_LEN || len > bytes.len() {
        return Err(Malformed);
    }
    Ok(Parsed {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        checksum: header.checksum(),
        datagram: bytes.slice(..len),
    })
}

/// A header for `payload_len` bytes (at most 65,527), its checksum field zero.
pub fn emit(source_port: u16, destination_port: u16, payload_len: usize) -> [u8; HEADER_LEN] {
    UdpHeader {
        source_port,
        destination_port,
        length: (HEADER_LEN + payload_len) as u16,
        checksum: 0,
    }
    .to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use covers::covers;

    fn with_length(length: u16, total: usize) -> Bytes {
        let mut bytes = vec![0xab; total];
        bytes[..8].copy_from_slice(&emit(7, 9, 0));
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes.into()
    }

    /// UD-1: below eight or beyond the packet is refused, shorter than the packet is trimmed.
    #[test]
    #[covers("UD-1")]
    fn every_length_value_on_forty_bytes() {
        for length in 0..=u16::MAX {
            let parsed = parse(&with_length(length, 40));
            if (8..=40).contains(&length) {
                let parsed = parsed.expect("a length inside the packet");
                assert_eq!(parsed.payload().len(), usize::from(length) - 8);
                assert_eq!((parsed.source_port, parsed.destination_port), (7, 9));
            } else {
                assert_eq!(parsed, Err(Malformed), "length {length}");
            }
        }
    }

    #[test]
    fn a_cut_header_is_malformed() {
        for len in 0..8 {
            assert_eq!(parse(&Bytes::from(vec![0; len])), Err(Malformed));
        }
    }

    #[test]
    fn a_header_survives_the_round_trip() {
        let mut bytes = emit(53, 65_535, 4).to_vec();
        bytes.extend_from_slice(b"data");
        let parsed = parse(&bytes.into()).expect("own header");
        assert_eq!(parsed.payload(), "data");
        assert_eq!((parsed.source_port, parsed.destination_port), (53, 65_535));
    }
}
