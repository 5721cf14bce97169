//! UDP datagrams and ICMP messages as the replay compares them: whole, with right checksums.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use etherparse::{IpNumber, IpSlice, Ipv6ExtensionSlice};

use crate::packet::check_ip;

/// What a packet, or all fragments of one, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A UDP datagram.
    Udp {
        /// Sender.
        source: SocketAddr,
        /// Receiver.
        destination: SocketAddr,
        /// Payload.
        payload: Bytes,
    },
    /// An ICMP message that is no error.
    Icmp {
        /// Sender.
        source: IpAddr,
        /// Receiver.
        destination: IpAddr,
        /// Type and code.
        kind: (u8, u8),
        /// All after the checksum: identifier, sequence number, payload.
        body: Bytes,
    },
    /// An ICMP error.
    Error {
        /// Sender.
        source: IpAddr,
        /// Receiver.
        destination: IpAddr,
        /// Type and code.
        kind: (u8, u8),
        /// The packet it is about, or its beginning.
        quote: Bytes,
    },
}

impl Message {
    /// Whether both say the same. Of a quoted packet either may hold less than the other.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Error {
                    source,
                    destination,
                    kind,
                    quote,
                },
                Self::Error {
                    source: from,
                    destination: to,
                    kind: same,
                    quote: more,
                },
            ) => {
                let common = quote.len().min(more.len());
                (source, destination, kind) == (from, to, same) && quote[..common] == more[..common]
            }
            _ => self == other,
        }
    }

    /// In a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Udp {
                source,
                destination,
                payload,
            } => {
                format!("UDP {source} > {destination}, {} bytes", payload.len())
            }
            Self::Icmp {
                source,
                destination,
                kind,
                body,
            } => {
                format!(
                    "ICMP {kind:?} {source} > {destination}, {} bytes",
                    body.len()
                )
            }
            Self::Error {
                source,
                destination,
                kind,
                quote,
            } => {
                format!(
                    "ICMP error {kind:?} {source} > {destination}, quotes {}",
                    quote.len()
                )
            }
        }
    }
}

/// The fragments of one packet, as far as they are there.
#[derive(Debug)]
struct Partial {
    key: (IpAddr, IpAddr, u32, IpNumber),
    pieces: Vec<(usize, Bytes)>,
    length: Option<usize>,
}

/// Turns packets into messages, putting fragments together in the plainest way there is.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Vec<Partial>,
}

impl Assembler {
    /// Takes a packet; a message, once it is whole. Malformed packets are named.
    pub fn push(&mut self, data: &Bytes) -> Result<Option<Message>, String> {
        let ip =
            IpSlice::from_slice(data).map_err(|error| format!("a malformed IP packet: {error}"))?;
        check_ip(&ip, data)?;
        let (source, destination) = (ip.source_addr(), ip.destination_addr());
        let protocol = ip.payload_ip_number();
        let payload = data.slice_ref(ip.payload().payload);
        if !ip.is_fragmenting_payload() {
            return message(source, destination, protocol, &payload);
        }
        let (offset, more, id) = fragment(&ip).ok_or("a fragment without fragment header")?;
        if more && !payload.len().is_multiple_of(8) {
            return Err(format!(
                "a fragment of {} bytes that is not the last",
                payload.len()
            ));
        }
        let key = (source, destination, id, protocol);
        let known = self.partial.iter().position(|partial| partial.key == key);
        let index = known.unwrap_or_else(|| {
            self.partial.push(Partial {
                key,
                pieces: Vec::new(),
                length: None,
            });
            self.partial.len() - 1
        });
        let partial = &mut self.partial[index];
        if !more {
            partial.length = Some(offset + payload.len());
        }
        partial.pieces.push((offset, payload));
        partial.pieces.sort_by_key(|&(offset, _)| offset);
        let mut whole = Vec::new();
        for (offset, piece) in &partial.pieces {
            if *offset == whole.len() {
                whole.extend_from_slice(piece);
            }
        }
        if partial.length != Some(whole.len()) {
            return Ok(None);
        }
        self.partial.remove(index);
        message(source, destination, protocol, &whole.into())
    }

    /// How many packets still miss fragments.
    pub fn incomplete(&self) -> usize {
        self.partial.len()
    }
}

/// Offset in bytes, more to come, identification.
fn fragment(ip: &IpSlice<'_>) -> Option<(usize, bool, u32)> {
    match ip {
        IpSlice::Ipv4(slice) => {
            let header = slice.header();
            let offset = header.fragments_offset().value() as usize * 8;
            Some((
                offset,
                header.more_fragments(),
                header.identification() as u32,
            ))
        }
        IpSlice::Ipv6(slice) => {
            let mut extensions = slice.extensions().clone().into_iter();
            extensions.find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(header) => Some((
                    header.fragment_offset().value() as usize * 8,
                    header.more_fragments(),
                    header.identification(),
                )),
                _ => None,
            })
        }
    }
}

fn message(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    data: &Bytes,
) -> Result<Option<Message>, String> {
    let wrong = |name: &str| Err(format!("a wrong {name} checksum, or a truncated header"));
    match protocol {
        IpNumber::UDP => {
            let field = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
            if data.len() < 8 || !is_sum_right(Some((source, destination)), 17, data) {
                return wrong("UDP");
            }
            if field(4) as usize != data.len() {
                return Err(format!(
                    "a UDP length of {} on {} bytes",
                    field(4),
                    data.len()
                ));
            }
            Ok(Some(Message::Udp {
                source: SocketAddr::new(source, field(0)),
                destination: SocketAddr::new(destination, field(2)),
                payload: data.slice(8..),
            }))
        }
        IpNumber::ICMP | IpNumber::IPV6_ICMP => {
            let v6 = protocol == IpNumber::IPV6_ICMP;
            let pseudo = v6.then_some((source, destination));
            if data.len() < 8 || !is_sum_right(pseudo, 58, data) {
                return wrong("ICMP");
            }
            let kind = (data[0], data[1]);
            let is_error = if v6 {
                kind.0 < 128
            } else {
                matches!(kind.0, 3 | 4 | 5 | 11 | 12)
            };
            Ok(Some(if is_error {
                let quote = data.slice(8..);
                Message::Error {
                    source,
                    destination,
                    kind,
                    quote,
                }
            } else {
                let body = data.slice(4..);
                Message::Icmp {
                    source,
                    destination,
                    kind,
                    body,
                }
            }))
        }
        _ => Ok(None),
    }
}

/// RFC 1071, the slow and plain way: with its checksum in place, everything sums up to 0xffff.
fn is_sum_right(pseudo: Option<(IpAddr, IpAddr)>, protocol: u8, data: &[u8]) -> bool {
    let mut bytes = Vec::new();
    match pseudo {
        Some((IpAddr::V4(from), IpAddr::V4(to))) => {
            bytes.extend([from.octets(), to.octets()].concat());
        }
        Some((IpAddr::V6(from), IpAddr::V6(to))) => {
            bytes.extend([from.octets(), to.octets()].concat());
        }
        Some(_) => return false,
        None => {}
    }
    if pseudo.is_some() {
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, protocol]);
    }
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let sum = bytes.chunks(2).fold(0u64, |sum, pair| {
        sum + pair[0] as u64 * 256 + pair[1] as u64
    });
    let sum = (sum & 0xffff_ffff) % 0xffff;
    // 0 and 0xffff are the same number in one's complement.
    sum == 0
}
