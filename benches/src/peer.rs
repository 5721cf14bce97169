//! The other end: clients that follow a script. They know where they stand, and nothing else of
//! TCP, so that what is measured is the subject.

use std::net::Ipv4Addr;

/// Payload of a full segment at an MTU of 1500.
pub const MSS: u32 = 1460;
/// IPv4 and TCP header without options.
pub const HEADERS: usize = 40;
/// The subject's address and port.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 80);
/// The largest packet of a script: 44 full segments that offload joined.
pub const LARGEST: u32 = 44 * MSS;

/// Bits of the flags byte (RFC 9293 §3.1).
pub const FIN: u8 = 0x01;
/// See [`FIN`].
pub const SYN: u8 = 0x02;
/// See [`FIN`].
pub const RST: u8 = 0x04;
/// See [`FIN`].
pub const PSH: u8 = 0x08;
/// See [`FIN`].
pub const ACK: u8 = 0x10;

/// What a client's SYN offers: MSS 1460, window scale 7, SACK.
const SYN_OPTIONS: [u8; 12] = [2, 4, 0x05, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2];
/// A client's window field: 64 KiB once scaled.
pub const WINDOW: u16 = 512;

const FIRST_PORT: u16 = 1024;
const PORTS: u32 = 60_000;

/// A segment between a client and the subject, in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Which client.
    pub flow: u32,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// The flags byte.
    pub flags: u8,
    /// Payload bytes.
    pub len: u32,
}

impl Segment {
    /// The number that follows the segment.
    pub const fn end(&self) -> u32 {
        let controls = (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32;
        self.seq.wrapping_add(self.len + controls)
    }

    /// Writes the packet's headers into `buffer`, which holds the payload already from
    /// [`HEADERS`] on; returns the packet's length.
    pub fn write(&self, buffer: &mut [u8]) -> usize {
        let options: &[u8] = if self.flags & SYN != 0 {
            &SYN_OPTIONS
        } else {
            &[]
        };
        let len = HEADERS + options.len() + self.len as usize;
        let (source, port) = client(self.flow);
        let ip = &mut buffer[..20];
        ip.copy_from_slice(&[
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        ip[12..16].copy_from_slice(&source.octets());
        ip[16..20].copy_from_slice(&SERVER.0.octets());
        let checksum = ip_checksum(len as u16, source);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let tcp = &mut buffer[20..HEADERS];
        tcp[0..2].copy_from_slice(&port.to_be_bytes());
        tcp[2..4].copy_from_slice(&SERVER.1.to_be_bytes());
        tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.ack.to_be_bytes());
        tcp[12] = ((5 + options.len() / 4) << 4) as u8;
        tcp[13] = self.flags;
        tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
        tcp[16..20].copy_from_slice(&[0; 4]); // nobody looks at the checksum
        buffer[HEADERS..HEADERS + options.len()].copy_from_slice(options);
        len
    }

    /// Reads a packet of the subject's.
    pub fn read(packet: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| packet[at + i]));
        let header = 20 + usize::from(packet[32] >> 4) * 4;
        Self {
            flow: flow(
                word(16).into(),
                u16::from_be_bytes([packet[22], packet[23]]),
            ),
            seq: word(24),
            ack: word(28),
            flags: packet[33],
            len: (packet.len() - header) as u32,
        }
    }
}

/// The header's checksum, over what is not constant and the sum of what is.
fn ip_checksum(len: u16, source: Ipv4Addr) -> u16 {
    let source = source.to_bits();
    let server = SERVER.0.to_bits();
    let constant = 0x4500 + 0x4000 + 0x4006 + (server >> 16) + (server & 0xffff);
    let sum = constant + u32::from(len) + (source >> 16) + (source & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Address and port of a client.
pub fn client(flow: u32) -> (Ipv4Addr, u16) {
    let address = Ipv4Addr::from_bits(0x0a01_0001 + flow / PORTS);
    (address, FIRST_PORT + (flow % PORTS) as u16)
}

/// Which client has this address and port.
pub fn flow(address: Ipv4Addr, port: u16) -> u32 {
    (address.to_bits() - 0x0a01_0001) * PORTS + u32::from(port - FIRST_PORT)
}

/// One client: SND.NXT and RCV.NXT.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    flow: u32,
    nxt: u32,
    rcv_nxt: u32,
}

impl Client {
    /// One that has sent nothing.
    pub const fn new(flow: u32) -> Self {
        Self {
            flow,
            nxt: flow.wrapping_mul(0x9e37_79b9),
            rcv_nxt: 0,
        }
    }

    /// RCV.NXT.
    pub const fn rcv_nxt(&self) -> u32 {
        self.rcv_nxt
    }

    /// SND.NXT.
    pub const fn nxt(&self) -> u32 {
        self.nxt
    }

    /// The SYN.
    pub const fn syn(&mut self) -> Segment {
        self.send(SYN, 0)
    }

    /// A segment in order with these flags and so much payload.
    pub const fn send(&mut self, flags: u8, len: u32) -> Segment {
        let segment = Segment {
            flow: self.flow,
            seq: self.nxt,
            ack: self.rcv_nxt,
            flags,
            len,
        };
        self.nxt = segment.end();
        segment
    }

    /// An ACK and nothing else.
    pub const fn ack(&mut self) -> Segment {
        self.send(ACK, 0)
    }

    /// Takes what the subject sent.
    ///
    /// # Panics
    ///
    /// When it does not come in order: links lose nothing here.
    pub fn on_segment(&mut self, segment: &Segment) {
        if segment.flags & SYN == 0 {
            assert_eq!(segment.seq, self.rcv_nxt, "{segment:?} is not in order");
        }
        self.rcv_nxt = segment.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        for flow in [0, 1, PORTS - 1, PORTS, 999_999] {
            let (address, port) = client(flow);
            assert_eq!(super::flow(address, port), flow);
            let mut sent = Client::new(flow).syn();
            sent.ack = 7;
            let mut packet = [0; 200];
            let len = sent.write(&mut packet);
            assert_eq!(len, 52);
            // What the subject sends goes the other way.
            let (source, destination) = packet.split_at_mut(16);
            source[12..16].swap_with_slice(&mut destination[..4]);
            let (source, destination) = packet.split_at_mut(22);
            source[20..].swap_with_slice(&mut destination[..2]);
            assert_eq!(Segment::read(&packet[..len]), sent);
        }
    }

    #[test]
    fn the_ip_checksum_is_right() {
        for (flow, len) in [(0, 0), (123_456, 1460), (999_999, LARGEST)] {
            let mut packet = vec![0; 65_536];
            let mut client = Client::new(flow);
            client.send(ACK, len).write(&mut packet);
            let words = packet[..20]
                .chunks(2)
                .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
            let sum: u32 = words.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
    }
}
