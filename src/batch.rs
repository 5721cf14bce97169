//! Batches of frames between the packet loop and a device: recycled storage, no allocation per
//! packet once warm.

use std::num::NonZeroU16;
use std::ops::Range;
use std::vec::Drain;

use bytes::{Bytes, BytesMut};

use crate::observe::{Frames, NoteList};
use crate::pool::ChunkPool;

/// The most frames one turn receives; also how many it hands to the device before it looks again.
pub const MAX_RX_FRAMES: usize = 32;

/// Whether and how a frame's transport checksum is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The field holds the checksum; a receiver has yet to verify it.
    #[default]
    Complete,
    /// The field, `offset` bytes after `start`, holds the folded sum of the pseudo-header only;
    /// whoever puts the frame on a wire adds the bytes from `start` on. To a receiver: verified.
    Partial {
        /// Where summing begins, from the start of the IP packet.
        start: u16,
        /// Where the checksum field lies, from `start`.
        offset: u16,
    },
    /// Somebody trustworthy has verified it.
    Verified,
}

/// What a super-segment is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either.
    Udp,
}

/// A frame that stands for several wire packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Which transport.
    pub kind: GsoKind,
    /// IP and transport headers, in bytes.
    pub header_len: u16,
    /// Payload bytes of every wire packet but the last.
    pub size: NonZeroU16,
}

/// What the device and the stack know of a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum.
    pub checksum: Checksum,
    /// Set when the frame stands for several wire packets.
    pub gso: Option<Gso>,
}

/// One IP packet as received, or one super-packet of up to 64 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The packet, from its IP header on.
    pub data: Bytes,
    /// What is known of it.
    pub offload: Offload,
}

/// Frames of one receive.
#[derive(Debug, Default)]
pub struct RxBatch {
    frames: Vec<Frame>,
}

impl RxBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self {
            frames: Vec::with_capacity(MAX_RX_FRAMES),
        }
    }

    /// How many more frames fit.
    pub fn room(&self) -> usize {
        MAX_RX_FRAMES.saturating_sub(self.frames.len())
    }

    /// Adds a frame; the caller looks at [`RxBatch::room`] first.
    pub fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame is held.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames held, in order of arrival.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Takes all frames out, in order of arrival.
    pub fn drain(&mut self) -> Drain<'_, Frame> {
        self.frames.drain(..)
    }
}

/// One frame to send: headers inline, payload as chunks.
#[derive(Clone, Copy, Debug)]
pub struct TxFrame<'a> {
    /// IP and transport headers (for raw packets, any prefix of the packet).
    pub headers: &'a [u8],
    /// The rest, in order.
    pub chunks: &'a [Bytes],
    /// What the device must do.
    pub offload: Offload,
}

impl TxFrame<'_> {
    /// Length of the packet in bytes.
    pub fn len(&self) -> usize {
        self.headers.len() + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether the packet has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packet in one piece, copied.
    pub fn to_frame(&self) -> Frame {
        self.copied_to(BytesMut::with_capacity(self.len()))
    }

    /// The packet in one piece, copied to a buffer of `pool`.
    pub(crate) fn copied_in(&self, pool: &mut ChunkPool) -> Frame {
        self.copied_to(pool.buffer(self.len()))
    }

    fn copied_to(&self, mut data: BytesMut) -> Frame {
        data.extend_from_slice(self.headers);
        self.chunks
            .iter()
            .for_each(|chunk| data.extend_from_slice(chunk));
        Frame {
            data: data.freeze(),
            offload: self.offload,
        }
    }
}

#[derive(Debug)]
struct Slot {
    headers: Range<u32>,
    chunks: Range<u32>,
    /// Length of the packet in bytes.
    len: u32,
    offload: Offload,
}

/// Frames on their way to a device, oldest first.
#[derive(Debug, Default)]
pub struct TxBatch {
    slots: Vec<Slot>,
    /// Headers of all frames, and those of a frame that is being written.
    headers: Vec<u8>,
    /// Chunks of all frames.
    chunks: Vec<Bytes>,
    /// Frames already sent, from the front.
    sent: usize,
    /// Length of all packets not yet sent.
    bytes: u64,
    /// Frames pushed so far.
    pushed: u64,
    /// What was noted since the device was offered the batch last, and how many notes are missing.
    notes: (NoteList, u64),
    /// The frames of each segment that TCP has pushed, if anybody wants to know.
    pushes: Option<Vec<Frames>>,
}

impl TxBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame: its headers (any prefix of it) are copied, its chunks are not.
    pub fn push(
        &mut self,
        headers: &[u8],
        chunks: impl IntoIterator<Item = Bytes>,
        offload: Offload,
    ) {
        self.headers.extend_from_slice(headers);
        self.chunks.extend(chunks);
        self.finish(offload);
    }

    /// Appends a packet that is in one piece.
    pub fn push_frame(&mut self, frame: Frame) {
        self.push(&[], [frame.data], frame.offload);
    }

    /// Where the headers of the next frame are written; its chunks come with
    /// [`TxBatch::finish`].
    pub(crate) const fn headers(&mut self) -> &mut Vec<u8> {
        &mut self.headers
    }

    /// Where the chunks of the next frame are collected.
    pub(crate) const fn chunks(&mut self) -> &mut Vec<Bytes> {
        &mut self.chunks
    }

    /// What was written since the last frame is one.
    #[inline]
    pub(crate) fn finish(&mut self, offload: Offload) {
        let (headers, chunks) = self.ends();
        let payload = self.chunks[chunks as usize..].iter().map(Bytes::len);
        let len = self.headers.len() as u32 - headers + payload.sum::<usize>() as u32;
        self.bytes += u64::from(len);
        self.pushed += 1;
        self.slots.push(Slot {
            headers: headers..self.headers.len() as u32,
            chunks: chunks..self.chunks.len() as u32,
            len,
            offload,
        });
    }

    /// As [`TxBatch::finish`], but the frame goes elsewhere, in one piece.
    pub(crate) fn divert(&mut self, offload: Offload, pool: &mut ChunkPool) -> Frame {
        let (headers, chunks) = self.ends();
        let frame = TxFrame {
            headers: &self.headers[headers as usize..],
            chunks: &self.chunks[chunks as usize..],
            offload,
        };
        let frame = frame.copied_in(pool);
        self.headers.truncate(headers as usize);
        self.chunks.truncate(chunks as usize);
        frame
    }

    /// Where the newest frame ends.
    fn ends(&self) -> (u32, u32) {
        let last = self.slots.last();
        last.map_or((0, 0), |slot| (slot.headers.end, slot.chunks.end))
    }

    /// Frames not yet sent.
    pub const fn len(&self) -> usize {
        self.slots.len() - self.sent
    }

    /// Whether nothing is left to send.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all packets not yet sent.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames pushed so far; the last [`len`](Self::len) of them have not been sent.
    pub const fn pushed(&self) -> u64 {
        self.pushed
    }

    /// What was noted in the half turn that this call of [`Device::send`](crate::device::Device::send)
    /// ends, for a device that [asked for it](crate::device::Device::wants_notes).
    pub const fn notes(&self) -> &NoteList {
        &self.notes.0
    }

    /// How many notes of that half turn are missing: more than there is room for.
    pub const fn notes_dropped(&self) -> u64 {
        self.notes.1
    }

    /// Notes are written to an empty list, by somebody who tells how many are missing.
    pub(crate) fn put_notes(&mut self, write: impl FnOnce(&mut NoteList) -> u64) {
        self.notes.1 = write(&mut self.notes.0);
    }

    /// The device was offered the notes.
    pub(crate) fn clear_notes(&mut self) {
        self.notes.0.clear();
        self.notes.1 = 0;
    }

    /// From now on it is kept which frames each segment of TCP's has become.
    pub(crate) fn keep_pushes(&mut self) {
        self.pushes.get_or_insert_default();
    }

    /// TCP has pushed a segment, `before` which so many frames had been pushed.
    pub(crate) fn note_push(&mut self, before: u64) {
        if let Some(pushes) = &mut self.pushes {
            let count = (self.pushed - before) as u32;
            pushes.push(match count {
                0 => Frames::None, // discarded, or to this host itself
                count => Frames::Sent {
                    first: before,
                    count,
                },
            });
        }
    }

    /// What has become of the segments pushed since [`TxBatch::forget_pushes`].
    pub(crate) fn pushes(&self) -> &[Frames] {
        self.pushes.as_deref().unwrap_or(&[])
    }

    pub(crate) fn forget_pushes(&mut self) {
        if let Some(pushes) = &mut self.pushes {
            pushes.clear();
        }
    }

    /// The oldest frame not yet sent.
    pub fn front(&self) -> Option<TxFrame<'_>> {
        self.slots.get(self.sent).map(|slot| self.frame(slot))
    }

    /// Notes that the oldest frame is sent (or given up).
    pub fn pop_front(&mut self) {
        let len = self.slots.get(self.sent).map_or(0, |slot| slot.len);
        self.bytes -= u64::from(len);
        self.sent += 1;
        if self.sent >= self.slots.len() {
            self.clear();
        } else if self.sent >= MAX_RX_FRAMES && self.sent >= self.len() {
            self.forget_sent();
        }
    }

    /// Lets go of the frames that were sent. A batch that a slow device never empties would else hold
    /// on to all of them.
    fn forget_sent(&mut self) {
        self.slots.drain(..self.sent);
        self.sent = 0;
        let first = self.slots.first();
        let (headers, chunks) =
            first.map_or((0, 0), |first| (first.headers.start, first.chunks.start));
        self.headers.drain(..headers as usize);
        self.chunks.drain(..chunks as usize);
        for slot in &mut self.slots {
            slot.headers = slot.headers.start - headers..slot.headers.end - headers;
            slot.chunks = slot.chunks.start - chunks..slot.chunks.end - chunks;
        }
    }

    /// All frames not yet sent, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = TxFrame<'_>> {
        self.slots[self.sent..].iter().map(|slot| self.frame(slot))
    }

    /// Forgets all frames, keeps the storage.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.headers.clear();
        self.chunks.clear();
        self.sent = 0;
        self.bytes = 0;
    }

    fn frame(&self, slot: &Slot) -> TxFrame<'_> {
        let slice = |range: &Range<u32>| range.start as usize..range.end as usize;
        TxFrame {
            headers: &self.headers[slice(&slot.headers)],
            chunks: &self.chunks[slice(&slot.chunks)],
            offload: slot.offload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_never_empty_lets_go_of_what_was_sent() {
        let mut batch = TxBatch::new();
        let first = Bytes::from(vec![0; 100]).slice(..);
        for n in 0..10_000_u32 {
            let chunk = if n == 0 {
                first.clone()
            } else {
                Bytes::from(n.to_be_bytes().to_vec())
            };
            batch.push(&n.to_le_bytes(), [chunk], Offload::default());
            if n >= 100 {
                let sent = n - 100;
                let frame = batch.front().unwrap();
                assert_eq!(frame.headers, sent.to_le_bytes());
                assert!(sent == 0 || frame.chunks == [&sent.to_be_bytes()[..]]);
                batch.pop_front();
                assert_eq!((batch.len(), batch.bytes()), (100, 800));
            }
            assert!(batch.slots.len() <= 201 && batch.chunks.len() <= 201);
        }
        assert!(first.is_unique(), "it was sent long ago");
        let left = batch.iter().map(|frame| frame.headers.to_vec());
        let expected = (9_900..10_000_u32).map(|n| n.to_le_bytes().to_vec());
        assert!(left.eq(expected));
    }
}
