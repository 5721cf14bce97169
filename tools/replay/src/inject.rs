//! Frames of the recorded end, rewritten to speak to the stack: acknowledgments, SACK blocks and
//! echoed timestamps are in the stack's numbers, everything else is as recorded.

use std::net::IpAddr;

use bytes::Bytes;
use etherparse::{IpNumber, IpSlice, Ipv4HeaderSlice, TcpSlice};

use crate::conversation::Said;
use crate::packet::{self, ACK, FIN, walk_options};

/// What changes in a frame. Numbers are wire numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgment number.
    pub(crate) ack: Option<u32>,
    /// Another timestamp than the recorded one.
    pub(crate) tsval: Option<u32>,
    /// Echoed timestamp.
    pub(crate) tsecr: Option<u32>,
    /// SACK blocks, at most as many as were recorded.
    pub(crate) sack: Vec<(u32, u32)>,
    /// Set for an ACK of its own: its window field; payload and FIN go.
    pub(crate) bare: Option<u16>,
}

const PSH: u8 = 8;
const NOP: u8 = 1;

/// The frame of `said` with `edit` applied, checksums right.
pub(crate) fn rewrite(said: &Said, edit: &Edit) -> Result<Bytes, String> {
    let mut data = said.data.to_vec();
    let header = header_len(&data)?;
    let tcp_len = (data[header + 12] >> 4) as usize * 4;
    data[header + 4..header + 8].copy_from_slice(&edit.seq.to_be_bytes());
    if let Some(window) = edit.bare {
        data.truncate(header + tcp_len);
        data[header + 13] &= !(FIN | PSH);
        data[header + 14..header + 16].copy_from_slice(&window.to_be_bytes());
        set_length(&mut data);
    }
    if let Some(ack) = edit.ack {
        data[header + 13] |= ACK;
        data[header + 8..header + 12].copy_from_slice(&ack.to_be_bytes());
    }
    let options = &mut data[header + 20..header + tcp_len];
    for (kind, range) in walk_options(options)? {
        match kind {
            8 => {
                let value = &mut options[range];
                for (place, number) in value.chunks_exact_mut(4).zip([edit.tsval, edit.tsecr]) {
                    if let Some(number) = number {
                        place.copy_from_slice(&number.to_be_bytes());
                    }
                }
            }
            5 => write_sack(&mut options[range.start - 2..range.end], &edit.sack),
            _ => {}
        }
    }
    set_checksum(&mut data, header)?;
    Ok(data.into())
}

/// Takes options of these kinds out of a segment.
pub(crate) fn strip(said: &mut Said, kinds: &[u8]) -> Result<(), String> {
    let mut data = said.data.to_vec();
    let header = header_len(&data)?;
    let tcp_len = (data[header + 12] >> 4) as usize * 4;
    let options = &mut data[header + 20..header + tcp_len];
    for (kind, range) in walk_options(options)? {
        if kinds.contains(&kind) {
            options[range.start - 2..range.end].fill(NOP);
        }
    }
    set_checksum(&mut data, header)?;
    said.data = data.into();
    said.tcp = packet::tcp(&said.data)?.ok_or("no segment any more")?;
    Ok(())
}

/// The segment between other addresses of the same family.
pub(crate) fn readdress(data: &[u8], source: IpAddr, destination: IpAddr) -> Result<Bytes, String> {
    let mut data = data.to_vec();
    let header = header_len(&data)?;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            data[12..16].copy_from_slice(&source.octets());
            data[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            data[8..24].copy_from_slice(&source.octets());
            data[24..40].copy_from_slice(&destination.octets());
        }
        _ => return Err("addresses of two families".to_owned()),
    }
    set_length(&mut data);
    set_checksum(&mut data, header)?;
    Ok(data.into())
}

/// The packet with its checksum completed, as the device does behind a stack that leaves it to it.
pub(crate) fn complete(data: &[u8]) -> Result<Bytes, String> {
    let ip = IpSlice::from_slice(data).map_err(|error| error.to_string())?;
    if ip.payload_ip_number() != IpNumber::TCP || ip.is_fragmenting_payload() {
        return Err("no whole segment".to_owned());
    }
    let mut data = data.to_vec();
    let header = header_len(&data)?;
    set_checksum(&mut data, header)?;
    Ok(data.into())
}

fn header_len(data: &[u8]) -> Result<usize, String> {
    let ip = IpSlice::from_slice(data).map_err(|error| error.to_string())?;
    Ok(data.len() - ip.payload().payload.len())
}

fn write_sack(option: &mut [u8], blocks: &[(u32, u32)]) {
    let held = (option.len() - 2) / 8;
    option.fill(NOP);
    let blocks = &blocks[..blocks.len().min(held)];
    if blocks.is_empty() {
        return;
    }
    option[0] = 5;
    option[1] = 2 + 8 * blocks.len() as u8;
    for (place, (left, right)) in option[2..].chunks_exact_mut(8).zip(blocks) {
        place[..4].copy_from_slice(&left.to_be_bytes());
        place[4..].copy_from_slice(&right.to_be_bytes());
    }
}

fn set_length(data: &mut [u8]) {
    let length = data.len() as u16;
    if data[0] >> 4 == 4 {
        data[2..4].copy_from_slice(&length.to_be_bytes());
        if let Ok(header) = Ipv4HeaderSlice::from_slice(data) {
            let checksum = header.to_header().calc_header_checksum();
            data[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    } else {
        data[4..6].copy_from_slice(&(length - 40).to_be_bytes());
    }
}

fn set_checksum(data: &mut [u8], header: usize) -> Result<(), String> {
    let ip = IpSlice::from_slice(data).map_err(|error| error.to_string())?;
    let tcp = TcpSlice::from_slice(ip.payload().payload).map_err(|error| error.to_string())?;
    let checksum = match &ip {
        IpSlice::Ipv4(ip) => {
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
        }
        IpSlice::Ipv6(ip) => {
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
        }
    }
    .map_err(|error| error.to_string())?;
    data[header + 16..header + 18].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}
