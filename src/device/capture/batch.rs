//! Frames of half a turn on their way to the file.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::CaptureOptions;
use crate::batch::{Frame, GsoKind, Offload, TxFrame};
use crate::device::LostPacket;
use crate::observe::NoteList;

/// Shorter frames are copied: that costs less than to share them.
const SHORT: usize = 256;

/// Frames, and what was noted of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Since 1970.
    pub(super) time: Duration,
    pub(super) received: Vec<Piece>,
    pub(super) sent: Vec<Piece>,
    /// The number of the first frame sent.
    pub(super) first_sent: u64,
    pub(super) notes: NoteList,
    /// Packets that were lost on purpose, and when.
    pub(super) lost: Vec<(Duration, LostPacket)>,
    /// Frames that are missing before these.
    pub(super) missing: u64,
    /// Bytes that were copied.
    copied: Vec<u8>,
    shared: usize,
}

/// A frame, or as much of it as is wanted.
#[derive(Debug)]
pub(super) struct Piece {
    data: Data,
    /// Bytes of the whole frame.
    pub(super) len: usize,
    pub(super) offload: Offload,
}

#[derive(Debug)]
enum Data {
    Copied(Range<usize>),
    Shared(Vec<Bytes>),
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.frames() == 0 && self.notes.is_empty()
    }

    /// Frames, lost ones included.
    pub(super) fn frames(&self) -> usize {
        self.received.len() + self.sent.len() + self.lost.len()
    }

    /// Bytes that wait with it.
    pub(super) fn bytes(&self) -> usize {
        let lost = self.lost.iter().map(|(_, lost)| lost.packet.len());
        self.copied.len() + self.shared + lost.sum::<usize>() + self.notes.bytes()
    }

    /// A frame was received.
    pub(super) fn receive(&mut self, frame: &Frame, options: &CaptureOptions) {
        let piece = self.piece(
            &[],
            std::slice::from_ref(&frame.data),
            frame.offload,
            options,
        );
        self.received.push(piece);
    }

    /// A frame is to be sent.
    pub(super) fn send(&mut self, frame: &TxFrame<'_>, options: &CaptureOptions) {
        let piece = self.piece(frame.headers, frame.chunks, frame.offload, options);
        self.sent.push(piece);
    }

    fn piece(
        &mut self,
        headers: &[u8],
        chunks: &[Bytes],
        offload: Offload,
        options: &CaptureOptions,
    ) -> Piece {
        let len = headers.len() + chunks.iter().map(Bytes::len).sum::<usize>();
        let wanted = if is_cut(offload, options) {
            len // all of it is needed to cut it
        } else {
            len.min(options.snaplen as usize)
        };
        let data = if wanted <= SHORT || wanted < len {
            let start = self.copied.len();
            let mut left = wanted;
            for part in std::iter::once(headers).chain(chunks.iter().map(|chunk| &chunk[..])) {
                let part = &part[..part.len().min(left)];
                self.copied.extend_from_slice(part);
                left -= part.len();
            }
            Data::Copied(start..self.copied.len())
        } else {
            self.shared += len;
            let headers = (!headers.is_empty()).then(|| Bytes::copy_from_slice(headers));
            Data::Shared(headers.into_iter().chain(chunks.iter().cloned()).collect())
        };
        Piece { data, len, offload }
    }

    /// A piece as a frame, in one piece of memory.
    pub(super) fn frame(&self, piece: &Piece) -> Frame {
        let data = match &piece.data {
            Data::Copied(range) => Bytes::copy_from_slice(&self.copied[range.clone()]),
            Data::Shared(parts) => match &parts[..] {
                [single] => single.clone(),
                parts => parts.concat().into(),
            },
        };
        Frame {
            data,
            offload: piece.offload,
        }
    }
}

/// Whether the file shows the packets that a frame stands for.
pub(super) fn is_cut(offload: Offload, options: &CaptureOptions) -> bool {
    offload
        .gso
        .is_some_and(|gso| gso.kind == GsoKind::Udp || options.split)
}
