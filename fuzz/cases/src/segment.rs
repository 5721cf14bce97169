//! TCP segments as bytes, for targets that play a peer over IP.

/// A TCP header with options and payload, its checksum yet to be made right.
#[derive(Clone, Debug)]
pub(crate) struct SegmentBytes(pub(crate) Vec<u8>);

/// What a segment says besides its ports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u16,
    pub(crate) window: u16,
}

pub(crate) const SYN: u16 = 2;
pub(crate) const ACK: u16 = 16;

impl SegmentBytes {
    /// A segment; options are padded to whole words, those beyond 40 bytes left out.
    pub(crate) fn new(ports: (u16, u16), fields: Fields, options: &[u8], payload: &[u8]) -> Self {
        let mut options = options[..options.len().min(40)].to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let Fields {
            seq,
            ack,
            flags,
            window,
        } = fields;
        let mut bytes = Vec::with_capacity(20 + options.len() + payload.len());
        bytes.extend(ports.0.to_be_bytes());
        bytes.extend(ports.1.to_be_bytes());
        bytes.extend(seq.to_be_bytes());
        bytes.extend(ack.to_be_bytes());
        bytes.push(((20 + options.len()) / 4 * 16) as u8 | ((flags >> 8) & 1) as u8);
        bytes.push(flags as u8);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend_from_slice(payload);
        Self(bytes)
    }

    /// The answer to a SYN: every number and port where it belongs, an MSS of 1460.
    pub(crate) fn syn_ack_of(syn: &[u8], isn: u32) -> Self {
        let Header { ports, seq, .. } = Header::of(syn).unwrap_or_default();
        let fields = Fields {
            seq: isn,
            ack: seq.wrapping_add(1),
            flags: SYN | ACK,
            window: 65_535,
        };
        Self::new((ports.1, ports.0), fields, &[2, 4, 5, 0xb4], &[])
    }
}

/// What an answer needs to know of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// The number behind its last one.
    pub(crate) end: u32,
}

impl Header {
    /// Reads the header of a segment.
    pub(crate) fn of(segment: &[u8]) -> Option<Self> {
        let slice = etherparse::TcpSlice::from_slice(segment).ok()?;
        let length = slice.payload().len() as u32 + u32::from(slice.syn()) + u32::from(slice.fin());
        Some(Self {
            ports: (slice.source_port(), slice.destination_port()),
            seq: slice.sequence_number(),
            ack: slice.acknowledgment_number(),
            end: slice.sequence_number().wrapping_add(length),
        })
    }
}
