//! ICMP errors about a conversation: the segment that they quote becomes the stack's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, IpSlice};
use referee::position;

use crate::capture::Recorded;
use crate::conversation::Conversation;

/// Where an ICMP message quotes what it is about.
const QUOTE: usize = 8;

/// An error that reached the end which the stack plays.
#[derive(Clone, Debug)]
pub(crate) struct IcmpError {
    pub(crate) number: usize,
    pub(crate) time: Duration,
    /// Position of the quoted sequence number.
    pub(crate) seq: u64,
    data: Bytes,
    /// Where the quoted sequence number lies in `data`.
    place: usize,
}

/// The errors about what `conversation.local` said, in the order of the capture.
pub(crate) fn errors(packets: &[Recorded], conversation: &Conversation) -> Vec<IcmpError> {
    let packets = packets.iter().filter(|packet| !packet.lost);
    let found = packets.filter_map(|packet| error(packet, conversation));
    found.collect()
}

fn error(packet: &Recorded, conversation: &Conversation) -> Option<IcmpError> {
    let ip = IpSlice::from_slice(&packet.data).ok()?;
    if ip.destination_addr() != conversation.local.ip() {
        return None;
    }
    let message = ip.payload().payload;
    let is_error = match ip.payload_ip_number() {
        IpNumber::ICMP => matches!(message.first(), Some(3 | 11 | 12)),
        IpNumber::IPV6_ICMP => matches!(message.first(), Some(1..=4)),
        _ => false,
    };
    let quote = message.get(QUOTE..)?;
    let (source, destination, header) = quoted(quote)?;
    let tcp = quote.get(header..header + 8)?;
    let field = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let flow = (
        SocketAddr::new(source, field(0)),
        SocketAddr::new(destination, field(2)),
    );
    if !is_error || flow != (conversation.local, conversation.remote) {
        return None;
    }
    let wire = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let before = packet.data.len() - message.len();
    Some(IcmpError {
        number: packet.number,
        time: packet.time,
        seq: position(conversation.ours.isn, conversation.ours.end, wire),
        data: packet.data.clone(),
        place: before + QUOTE + header + 4,
    })
}

/// Addresses and header length of a quoted TCP packet, which may break off anywhere.
fn quoted(quote: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    const TCP: u8 = 6;
    match quote.first()? >> 4 {
        4 if *quote.get(9)? == TCP => {
            let address = |at: usize| quote.get(at..)?.first_chunk::<4>().copied();
            let header = (quote[0] & 15) as usize * 4;
            Some((address(12)?.into(), address(16)?.into(), header))
        }
        6 if *quote.get(6)? == TCP => {
            let address = |at: usize| quote.get(at..)?.first_chunk::<16>().copied();
            Some((address(8)?.into(), address(24)?.into(), 40))
        }
        _ => None,
    }
}

impl IcmpError {
    /// The packet, about the segment of a stack with this initial sequence number.
    pub(crate) fn about(&self, isn: u32) -> Result<Bytes, String> {
        let mut data = self.data.to_vec();
        let wire = isn.wrapping_add(self.seq as u32).to_be_bytes();
        data[self.place..self.place + 4].copy_from_slice(&wire);
        let ip = IpSlice::from_slice(&data).map_err(|error| error.to_string())?;
        let message = ip.payload().payload;
        let before = data.len() - message.len();
        let sum = match (ip.source_addr(), ip.destination_addr()) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => Sum16BitWords::new()
                .add_16bytes(source.octets())
                .add_16bytes(destination.octets())
                .add_4bytes((message.len() as u32).to_be_bytes())
                .add_2bytes([0, IpNumber::IPV6_ICMP.0]),
            _ => Sum16BitWords::new(),
        };
        let sum = sum.add_slice(&message[..2]).add_slice(&message[4..]);
        let checksum = sum.ones_complement().to_be().to_be_bytes();
        data[before + 2..before + 4].copy_from_slice(&checksum);
        Ok(data.into())
    }
}
