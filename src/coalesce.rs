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
/// Without options, and with all there can be.
const TCP_LEN: usize = 20;
const MAX_TCP_LEN: usize = 60;

/// The bits in which a segment that joins is like the first, word by word of 32 bits. Of IPv4 all but
/// total length, identification and checksum.
const SAME_V4: [u32; (IPV4_LEN + MAX_TCP_LEN) / 4] =
    same_tcp([0xffff_0000, 0x0000_ffff, 0xffff_0000, !0, !0], [!0; _]);

/// Of IPv6 all but the payload's length.
const SAME_V6: [u32; (IPV6_LEN + MAX_TCP_LEN) / 4] =
    same_tcp([!0, 0x0000_ffff, !0, !0, !0, !0, !0, !0, !0, !0], [!0; _]);

/// Of TCP all but sequence number, PSH, checksum and urgent pointer, which is none.
const fn same_tcp<const IP: usize, const ALL: usize>(
    ip: [u32; IP],
    mut all: [u32; ALL],
) -> [u32; ALL] {
    let mut word = 0;
    while word < IP {
        all[word] = ip[word];
        word += 1;
    }
    all[IP + 1] = 0;
    all[IP + 3] = !((PSH as u32) << 16);
    all[IP + 4] = 0;
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
    same: &'static [u32],
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
        let (ip_len, same): (_, &[u32]) = match first.data.first()? {
            0x45 => (IPV4_LEN, &SAME_V4),
            0x60..=0x6f => (IPV6_LEN, &SAME_V6),
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
            same,
            size,
            next: u32_at(tcp, 4).wrapping_add(size as u32),
            text: size,
        };
        let is_train = is_first
            && first.offload.gso.is_none()
            && train.is_continued_by(first, next)
            && is_checksum_right(first, ip_len);
        is_train.then_some(train)
    }

    /// Whether `next` continues the train; the train is longer then.
    fn takes(&mut self, first: &Frame, next: &Frame) -> bool {
        let takes = self.is_continued_by(first, next) && is_checksum_right(next, self.ip_len);
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
    fn is_continued_by(&self, first: &Frame, next: &Frame) -> bool {
        let text = next.data.len().saturating_sub(self.header_len);
        if text == 0 || text > self.size || self.text + text > MAX_TEXT {
            return false;
        }
        u32_at(&next.data, self.ip_len + 4) == self.next
            && is_as_long_as_it_says(&next.data, self.ip_len)
            && next.offload.gso.is_none()
            && self.is_alike(&first.data, &next.data)
    }

    /// Whether two packets are the same in all bits that matter.
    fn is_alike(&self, first: &[u8], next: &[u8]) -> bool {
        let (first, _) = first[..self.header_len].as_chunks();
        let (next, _) = next[..self.header_len].as_chunks();
        let words = first.iter().zip(next).zip(self.same);
        let different = words.fold(0, |different, ((first, next), same)| {
            different | (u32::from_be_bytes(*first) ^ u32::from_be_bytes(*next)) & same
        });
        different == 0
    }
}

/// Whether `packet` is TCP and no fragment, without anything behind it.
fn is_whole_tcp(packet: &[u8], ip_len: usize) -> bool {
    let is_tcp = if ip_len == IPV4_LEN {
        u16_at(packet, 6) & FRAGMENT == 0 && packet[9] == TCP
    } else {
        packet[6] == TCP
    };
    is_tcp && is_as_long_as_it_says(packet, ip_len)
}

fn is_as_long_as_it_says(packet: &[u8], ip_len: usize) -> bool {
    let len = if ip_len == IPV4_LEN {
        usize::from(u16_at(packet, 2))
    } else {
        usize::from(u16_at(packet, 4)) + IPV6_LEN
    };
    len == packet.len()
}

/// Whether the checksums of IP and of TCP are right, or somebody trustworthy has said so.
fn is_checksum_right(frame: &Frame, ip_len: usize) -> bool {
    let (ip, tcp) = frame.data.split_at(ip_len);
    if let ([a, b, c, d, e], []) = ip.as_chunks::<4>()
        && checksum_of([a, b, c, d, e].map(|&word| u32::from_be_bytes(word))) != 0
    {
        return false;
    }
    if frame.offload.checksum != Checksum::Complete {
        return true;
    }
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
