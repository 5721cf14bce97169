//! Software coalescing: segments that lie side by side in a batch and continue each other are taken
//! for one, where the device has not joined them (what Linux calls GRO).
//!
//! A segment joins when its headers say nothing new: its IP and TCP headers are those of the first
//! one, but for what counts bytes and packets. Whatever else arrives, goes its own way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::vec::Drain;

use ustack_tcp::{FlowKey, Followers};

use crate::batch::{Checksum, Frame, Offload};
use crate::checksum::{Sum, checksum_of};

/// Bytes of text that one train takes, as much as a device joins.
const MAX_TEXT: usize = 65_535;

/// More fragments, and where this one belongs.
const FRAGMENT: u16 = 0x3fff;

const TCP: u8 = 6;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
/// Without options.
const TCP_LEN: usize = 20;

/// Both headers without options.
const PLAIN_V4: usize = IPV4_LEN + TCP_LEN;
const PLAIN_V6: usize = IPV6_LEN + TCP_LEN;

/// Where IPv4 has its total length, identification and checksum, of two bytes each.
const OWN_V4: [usize; 3] = [2, 4, 10];

/// The bits in which a segment that joins is like the first, byte by byte. Of IPv4 all but those.
const SAME_V4: [u8; PLAIN_V4] = same(&OWN_V4);

/// Of IPv6 all but the payload's length.
const SAME_V6: [u8; PLAIN_V6] = same(&[4]);

/// Of TCP all but sequence number, PSH, checksum and urgent pointer, which is none.
const fn same<const PLAIN: usize>(own: &[usize]) -> [u8; PLAIN] {
    let tcp = PLAIN - TCP_LEN;
    let mut all = clear(clear([!0; PLAIN], tcp + 4, 4), tcp + 16, 4);
    all[tcp + 13] = !PSH;
    let mut next = 0;
    while next < own.len() {
        all = clear(all, own[next], 2);
        next += 1;
    }
    all
}

const fn clear<const ALL: usize>(mut all: [u8; ALL], at: usize, len: usize) -> [u8; ALL] {
    let mut index = at;
    while index < at + len {
        all[index] = 0;
        index += 1;
    }
    all
}

/// What is known of a packet that continues a train: its checksums are right.
pub(crate) const VERIFIED: Offload = Offload {
    checksum: Checksum::Verified,
    gso: None,
};

/// Takes the next frame, and to `followers` the packets behind it that continue it.
#[inline]
pub(crate) fn next_train(
    frames: &mut Drain<'_, Frame>,
    followers: &mut Followers,
) -> Option<Frame> {
    let mut frame = frames.next()?;
    followers.reset(0);
    if !frames.as_slice().is_empty() {
        take_followers(&mut frame, frames, followers);
    }
    Some(frame)
}

fn take_followers(frame: &mut Frame, frames: &mut Drain<'_, Frame>, followers: &mut Followers) {
    let next = frames.as_slice().first();
    let Some(mut train) = next.and_then(|next| Train::behind(frame, next)) else {
        return;
    };
    frame.offload = VERIFIED;
    followers.reset(train.header_len);
    while let Some(next) = frames.as_slice().first()
        && train.takes(frame, next)
        && let Some(next) = frames.next()
    {
        followers.push(next.data);
    }
}

/// The flow of a packet that is plainly a segment: for looking ahead, without any check.
pub(crate) fn flow_of(packet: &[u8]) -> Option<FlowKey> {
    let ip_len = match packet.first()? {
        0x45 => IPV4_LEN,
        0x60..=0x6f => IPV6_LEN,
        _ => return None,
    };
    let ports = packet.get(ip_len..ip_len + TCP_LEN)?;
    if !is_whole_tcp(packet, ip_len) {
        return None;
    }
    let [remote, local] = if ip_len == IPV4_LEN {
        [12, 16].map(|at| Ipv4Addr::from_bits(u32_at(packet, at)).into())
    } else {
        [8, 24].map(|at| Ipv6Addr::from(std::array::from_fn(|index| packet[at + index])).into())
    };
    let end = |ip: IpAddr, at| SocketAddr::new(ip, u16_at(ports, at));
    Some(FlowKey::new(end(local, 2), end(remote, 0)))
}

/// A segment that others may continue.
struct Train {
    ip_len: usize,
    /// Bytes of both headers.
    header_len: usize,
    /// What [`own_sum`] of each is.
    own_sum: u32,
    /// Bytes of text in each segment but the last, which may have fewer.
    size: usize,
    /// The sequence number of the next segment.
    next: u32,
    /// Bytes of text so far.
    text: usize,
}

impl Train {
    /// `first` with its checksums verified, if `next` looks as if it continued it.
    fn behind(first: &Frame, next: &Frame) -> Option<Self> {
        let ip_len = match first.data.first()? {
            0x45 => IPV4_LEN,
            0x60..=0x6f => IPV6_LEN,
            _ => return None,
        };
        let tcp = first.data.get(ip_len..ip_len + TCP_LEN)?;
        let tcp_len = usize::from(tcp[12] >> 4) * 4;
        let header_len = ip_len + tcp_len;
        let size = first.data.len().checked_sub(header_len)?;
        let is_first = size > 0
            && tcp_len >= TCP_LEN
            && tcp[13] & !PSH == ACK
            && is_whole_tcp(&first.data, ip_len);
        let train = Self {
            ip_len,
            header_len,
            own_sum: own_sum(&first.data, ip_len),
            size,
            next: u32_at(tcp, 4).wrapping_add(size as u32),
            text: size,
        };
        let is_train = is_first
            && first.offload.gso.is_none()
            && train.is_continued_by(first, next)
            && is_header_right(&first.data, ip_len)
            && is_text_right(first, ip_len);
        is_train.then_some(train)
    }

    /// Whether `next` continues the train; the train is longer then.
    #[inline]
    fn takes(&mut self, first: &Frame, next: &Frame) -> bool {
        let takes = self.is_continued_by(first, next) && is_text_right(next, self.ip_len);
        if takes {
            let text = next.data.len() - self.header_len;
            self.next = self.next.wrapping_add(text as u32);
            // One that is shorter is the last.
            self.text = if text < self.size {
                MAX_TEXT
            } else {
                self.text + text
            };
        }
        takes
    }

    /// Whether the headers of `next` are those of `first`, in their place.
    #[inline]
    fn is_continued_by(&self, first: &Frame, next: &Frame) -> bool {
        let text = next.data.len().saturating_sub(self.header_len);
        if text == 0
            || text > self.size
            || self.text + text > MAX_TEXT
            || next.offload.gso.is_some()
        {
            return false;
        }
        if self.ip_len == IPV4_LEN {
            self.has_headers(&first.data, &next.data, &SAME_V4)
        } else {
            self.has_headers(&first.data, &next.data, &SAME_V6)
        }
    }

    #[inline]
    fn has_headers<const PLAIN: usize>(
        &self,
        first: &[u8],
        next: &[u8],
        same: &[u8; PLAIN],
    ) -> bool {
        let ip_len = PLAIN - TCP_LEN;
        let (Some(a), Some(b)) = (first.first_chunk(), next.first_chunk()) else {
            return false;
        };
        let has_options = self.header_len > PLAIN;
        u32_at(b, ip_len + 4) == self.next
            && said_len(b, ip_len) == next.len()
            && own_sum(b, ip_len) == self.own_sum
            && is_alike(a, b, same)
            && (!has_options || first[PLAIN..self.header_len] == next[PLAIN..self.header_len])
    }
}

/// Whether two headers are the same in all bits that matter.
#[inline]
fn is_alike<const LEN: usize>(first: &[u8; LEN], next: &[u8; LEN], same: &[u8; LEN]) -> bool {
    let [(first, _), (next, _), (same, _)] = [first, next, same].map(|all| all.as_chunks());
    let words = first.iter().zip(next).zip(same);
    let difference = words.fold(0, |difference, ((first, next), same)| {
        let different = u32::from_ne_bytes(*first) ^ u32::from_ne_bytes(*next);
        difference | different & u32::from_ne_bytes(*same)
    });
    difference == 0
}

/// Whether `packet` is TCP and no fragment, without anything behind it.
fn is_whole_tcp(packet: &[u8], ip_len: usize) -> bool {
    let is_tcp = if ip_len == IPV4_LEN {
        u16_at(packet, 6) & FRAGMENT == 0 && packet[9] == TCP
    } else {
        packet[6] == TCP
    };
    is_tcp && said_len(packet, ip_len) == packet.len()
}

/// Bytes of the packet, by its header.
#[inline]
fn said_len(packet: &[u8], ip_len: usize) -> usize {
    if ip_len == IPV4_LEN {
        usize::from(u16_at(packet, 2))
    } else {
        usize::from(u16_at(packet, 4)) + IPV6_LEN
    }
}

/// Whether IP's own checksum is right; IPv6 has none.
fn is_header_right(packet: &[u8], ip_len: usize) -> bool {
    match packet[..ip_len].as_chunks::<4>() {
        ([a, b, c, d, e], []) => {
            checksum_of([a, b, c, d, e].map(|&word| u32::from_be_bytes(word))) == 0
        }
        _ => true,
    }
}

/// The one's complement sum of what an IPv4 header has of its own inside a train. Headers that are
/// alike in all other bits have right checksums together, or wrong ones: a checksum is right when
/// the sum of all is 0 modulo 0xffff, as none is a sum of zeros (RFC 1071).
#[inline]
fn own_sum(packet: &[u8], ip_len: usize) -> u32 {
    if ip_len != IPV4_LEN {
        return 0;
    }
    let sum: u32 = OWN_V4.iter().map(|&at| u32::from(u16_at(packet, at))).sum();
    sum % 0xffff
}

/// Whether TCP's checksum is right, or somebody trustworthy has said so.
#[inline]
fn is_text_right(frame: &Frame, ip_len: usize) -> bool {
    frame.offload.checksum != Checksum::Complete || is_sum_right(&frame.data, ip_len)
}

fn is_sum_right(packet: &[u8], ip_len: usize) -> bool {
    let (ip, tcp) = packet.split_at(ip_len);
    // The pseudo-header; addresses are the last bytes of either header.
    let addresses = if ip_len == IPV4_LEN { 12 } else { 8 };
    let mut sum = Sum::new();
    sum.add(&ip[addresses..]);
    sum.add(&(tcp.len() as u32).to_be_bytes());
    sum.add(&[0, TCP]);
    sum.add(tcp);
    sum.checksum() == 0
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests;
