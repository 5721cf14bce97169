//! Segments that come right behind another one of their flow, and say nothing but their text.
//!
//! A device without offload delivers what was sent as one in many packets. Whoever finds them side
//! by side hands them over as one ([`Tcp::on_train`](crate::Tcp::on_train)): what a segment costs
//! beside its text is paid once for all of them.

use alloc::vec::Vec;

use bytes::{Buf as _, Bytes};

/// Packets, in order, whose headers are those of the segment before them: the same flow, ACK,
/// window, options and ECN; their sequence numbers follow each other without a gap, and no flag but
/// ACK or PSH is set. The room for them stays.
#[derive(Debug, Default)]
pub struct Followers {
    packets: Vec<Bytes>,
    /// Bytes of each packet before its text.
    header_len: usize,
    /// Bytes of text in all of them.
    text: u32,
}

impl Followers {
    /// Forgets all packets; those that come have `header_len` bytes before their text.
    #[inline]
    pub fn reset(&mut self, header_len: usize) {
        self.packets.clear();
        self.header_len = header_len;
        self.text = 0;
    }

    /// Appends a packet.
    #[inline]
    pub fn push(&mut self, packet: Bytes) {
        self.text += packet.len().saturating_sub(self.header_len) as u32;
        self.packets.push(packet);
    }

    /// How many packets there are.
    pub const fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes of text in all packets.
    pub const fn text_len(&self) -> u32 {
        self.text
    }

    /// Takes the packets out, headers and all.
    pub fn packets(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        self.text = 0;
        self.packets.drain(..)
    }

    /// Takes the texts out.
    pub fn texts(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        // All are cut before the first is moved: a processor waits for what was written in two halves
        // a moment ago and is read as one.
        for packet in &mut self.packets {
            packet.advance(self.header_len.min(packet.len()));
        }
        self.packets()
    }
}
