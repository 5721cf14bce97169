//! Where a shard collects its notes.

use std::mem;

use ustack_tcp::Tcp;
use ustack_tcp::observe::{Packed, Records};

use super::{Frames, Note, Noted};
use crate::batch::TxBatch;
use crate::ip;

/// Notes of half a turn, in order. Records stay as TCP has written them.
#[derive(Clone, Debug, Default)]
pub struct NoteList {
    records: Records,
    /// What the first of each [`Packed`] is about; those behind it are about none.
    frames: Vec<Frames>,
    /// What TCP did not do, and how many [`Packed`] stand before it.
    others: Vec<(usize, Fate, Frames)>,
}

/// A [`Note`], or several, in a [`NoteList`].
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// TCP tells.
    Tcp(Packed<'a>),
    /// Somebody else.
    Other(Fate),
}

/// What became of a frame that TCP did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// IP dropped it.
    Dropped(ip::Dropped),
    /// It went on to the shard with this number.
    HandedOver(usize),
}

impl NoteList {
    /// Whether nothing was noted.
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.others.is_empty()
    }

    /// What TCP tells.
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// Everything, in order.
    #[inline]
    pub fn each(&self, mut tell: impl FnMut(Told<'_>, Frames)) {
        let (mut others, mut told) = (&self.others[..], 0);
        for (packed, frames) in self.records.packed().zip(&self.frames) {
            while let [(before, fate, frames), rest @ ..] = others
                && *before <= told
            {
                tell(Told::Other(*fate), *frames);
                others = rest;
            }
            tell(Told::Tcp(packed), *frames);
            told += 1;
        }
        for (_, fate, frames) in others {
            tell(Told::Other(*fate), *frames);
        }
    }

    /// Everything, in order, each for itself.
    pub fn to_notes(&self) -> Vec<Note> {
        let mut notes = Vec::with_capacity(self.records.len() + self.others.len());
        self.each(|told, frames| told.unpack(frames, &mut notes));
        notes
    }

    /// Appends a copy of `more`.
    pub(crate) fn append(&mut self, more: &Self) {
        let before = self.frames.len();
        self.records.append(&more.records);
        self.frames.extend_from_slice(&more.frames);
        let others = more.others.iter();
        self.others
            .extend(others.map(|&(at, fate, frames)| (before + at, fate, frames)));
    }

    /// Bytes that it takes.
    pub(crate) const fn bytes(&self) -> usize {
        let others = size_of_val(self.others.as_slice());
        self.records.bytes() + size_of_val(self.frames.as_slice()) + others
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.frames.clear();
        self.others.clear();
    }
}

/// A timer of this port's connection fired: for tests that need an event.
#[cfg(test)]
pub(crate) fn timer(
    at: ustack_tcp::time::Instant,
    port: u16,
    timer: ustack_tcp::observe::Timer,
) -> ustack_tcp::observe::Record {
    let end = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
    ustack_tcp::observe::Record {
        at,
        flow: ustack_tcp::FlowKey::new(end(80), end(port)),
        what: ustack_tcp::observe::What::Timer(timer),
        state: ustack_tcp::State::Established,
        now: None,
    }
}

#[cfg(test)]
impl NoteList {
    pub(crate) fn push(&mut self, record: &ustack_tcp::observe::Record, frames: Frames) {
        self.records.push(record);
        self.frames.push(frames);
    }

    pub(crate) fn push_fate(&mut self, fate: Fate, frames: Frames) {
        self.others.push((self.frames.len(), fate, frames));
    }
}

impl Told<'_> {
    /// Appends a [`Note`] for each thing that is told; `frames` is what the first is about.
    pub(crate) fn unpack(self, mut frames: Frames, notes: &mut Vec<Note>) {
        match self {
            Self::Tcp(packed) => notes.extend(packed.records().map(|record| Note {
                what: Noted::Tcp(record),
                frames: mem::replace(&mut frames, Frames::None),
            })),
            Self::Other(fate) => {
                let what = match fate {
                    Fate::Dropped(reason) => Noted::Dropped(reason),
                    Fate::HandedOver(shard) => Noted::HandedOver(shard),
                };
                notes.push(Note { what, frames });
            }
        }
    }
}

/// The notes of half a turn, but records: they are left with TCP until it is over.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    frames: Vec<Frames>,
    others: Vec<(usize, Fate, Frames)>,
    /// Frames of the batch that were dealt with.
    received: u32,
    /// What became of the frame that is dealt with, if TCP did not get it.
    fate: Option<Fate>,
    /// Bytes of TCP's records whose frames are known.
    known: usize,
}

impl Notes {
    /// IP has dropped the frame that is dealt with.
    pub(crate) const fn on_dropped(&mut self, reason: ip::Dropped) {
        self.fate = Some(Fate::Dropped(reason));
    }

    /// The frame that is dealt with goes on to another shard.
    pub(crate) const fn on_handed_over(&mut self, to: usize) {
        self.fate = Some(Fate::HandedOver(to));
    }

    /// So many frames of the batch were dealt with together: the records since then are about them.
    /// None, if they came another way.
    pub(crate) fn on_received(&mut self, tcp: &Tcp, count: u32) {
        let frames = match count {
            0 => Frames::None,
            count => Frames::Received {
                first: self.received,
                count,
            },
        };
        self.received += count;
        let before = self.frames.len();
        self.collect(tcp, |packed| {
            if packed.is_received() {
                frames
            } else {
                Frames::None
            }
        });
        let fate = self.fate.take().filter(|_| count > 0);
        if let Some(fate) = fate.filter(|_| before == self.frames.len()) {
            self.others.push((before, fate, frames));
        }
    }

    /// Segments were pushed to `tx`: the records since then are about them.
    pub(crate) fn on_sent(&mut self, tcp: &Tcp, tx: &mut TxBatch) {
        let mut pushes = tx.pushes().iter();
        self.collect(tcp, |packed| {
            let push = packed.is_sent().then(|| pushes.next()).flatten();
            push.copied().unwrap_or(Frames::None)
        });
        tx.forget_pushes();
    }

    /// Something happened without frames.
    pub(crate) fn on_call(&mut self, tcp: &Tcp) {
        self.collect(tcp, |_| Frames::None);
    }

    /// Half a turn is over: its notes go with the frames to send.
    pub(crate) fn hand_over(&mut self, tcp: &mut Tcp, tx: &mut TxBatch) {
        self.received = 0;
        let is_quiet = tcp.records().is_none_or(Records::is_empty);
        tx.clear_notes(); // the device was offered them
        if is_quiet && self.others.is_empty() {
            return;
        }
        self.on_call(tcp);
        self.known = 0;
        tx.put_notes(|list| {
            mem::swap(&mut list.frames, &mut self.frames);
            mem::swap(&mut list.others, &mut self.others);
            tcp.take_records(&mut list.records)
        });
    }

    fn collect(&mut self, tcp: &Tcp, frames: impl FnMut(Packed<'_>) -> Frames) {
        let Some(records) = tcp.records().filter(|all| all.bytes() > self.known) else {
            return;
        };
        let fresh = records.packed_from(self.known);
        self.frames.extend(fresh.map(frames));
        self.known = records.bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ip_drops_takes_memory_too() {
        let mut list = NoteList::default();
        for first in 0..1_000 {
            let frames = Frames::Received { first, count: 1 };
            list.push_fate(Fate::Dropped(ip::Dropped::Truncated), frames);
        }
        assert!(list.bytes() >= 1_000 * size_of::<Frames>());
        assert_eq!(list.to_notes().len(), 1_000);
    }
}
