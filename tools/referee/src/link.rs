//! Frames of a capture: the IP packet behind the link's header.

use pcap_file::DataLink;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Tags of virtual networks (IEEE 802.1Q, 802.1ad).
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// The packet type of a cooked header for what this host sent.
const OUTGOING: u16 = 4;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// The IP packet, without the padding that short frames carry.
    pub(crate) packet: &'a [u8],
    /// Of cooked captures: whether this host sent it.
    pub(crate) is_outgoing: Option<bool>,
}

/// Whether frames of this link can be read.
pub(crate) fn is_known(link: DataLink) -> bool {
    matches!(
        link,
        DataLink::RAW
            | DataLink::IPV4
            | DataLink::IPV6
            | DataLink::ETHERNET
            | DataLink::LINUX_SLL
            | DataLink::LINUX_SLL2
            | DataLink::NULL
            | DataLink::LOOP
    )
}

/// The IP packet of a frame; `None` where it holds something else.
pub(crate) fn content(link: DataLink, frame: &[u8]) -> Option<Content<'_>> {
    let (header, protocol, kind) = match link {
        DataLink::ETHERNET => (14, Some(number(frame, 12)?), None),
        DataLink::LINUX_SLL => (16, Some(number(frame, 14)?), Some(number(frame, 0)?)),
        DataLink::LINUX_SLL2 => {
            let kind = *frame.get(10)? as u16;
            (20, Some(number(frame, 0)?), Some(kind))
        }
        DataLink::NULL | DataLink::LOOP => (4, None, None),
        _ => (0, None, None),
    };
    let mut rest = frame.get(header..)?;
    if let Some(mut protocol) = protocol {
        while VLAN.contains(&protocol) {
            protocol = number(rest, 2)?;
            rest = rest.get(4..)?;
        }
        if protocol != IPV4 && protocol != IPV6 {
            return None;
        }
    }
    Some(Content {
        packet: without_padding(rest),
        is_outgoing: kind.map(|kind| kind == OUTGOING),
    })
}

fn without_padding(packet: &[u8]) -> &[u8] {
    let length = length(packet).unwrap_or(packet.len());
    packet.get(..length).unwrap_or(packet)
}

/// The length of the IP packet that begins here, as its header says.
pub(crate) fn length(packet: &[u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => Some(number(packet, 2)? as usize),
        6 => Some(40 + number(packet, 4)? as usize),
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
