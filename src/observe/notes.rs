//! Where a shard collects its notes.

use ustack_tcp::Tcp;
use ustack_tcp::observe::{Record, What};

use super::{Frames, Note, Noted};
use crate::batch::TxBatch;
use crate::ip;

/// Notes of half a turn, in order. Records stay where TCP has written them: they are long, and most
/// are looked at once.
#[derive(Clone, Debug, Default)]
pub struct NoteList {
    records: Vec<Record>,
    /// What each record is about.
    frames: Vec<Frames>,
    /// What TCP did not do, and how many records stand before it.
    others: Vec<(usize, Note)>,
}

/// A [`Note`] in a [`NoteList`].
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// TCP tells.
    Tcp(&'a Record),
    /// Somebody else.
    Other(&'a Noted),
}

impl NoteList {
    /// Whether nothing was noted.
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.others.is_empty()
    }

    /// What TCP tells.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Everything, in order.
    #[inline]
    pub fn each(&self, mut tell: impl FnMut(Told<'_>, Frames)) {
        let mut others = self.others.iter().peekable();
        for (at, (record, frames)) in self.records.iter().zip(&self.frames).enumerate() {
            while let Some((_, note)) = others.next_if(|(before, _)| *before <= at) {
                tell(Told::Other(&note.what), note.frames);
            }
            tell(Told::Tcp(record), *frames);
        }
        for (_, note) in others {
            tell(Told::Other(&note.what), note.frames);
        }
    }

    /// Everything, in order, each for itself.
    pub fn to_notes(&self) -> Vec<Note> {
        let mut notes = Vec::with_capacity(self.records.len() + self.others.len());
        self.each(|told, frames| {
            let what = match told {
                Told::Tcp(record) => Noted::Tcp(*record),
                Told::Other(what) => *what,
            };
            notes.push(Note { what, frames });
        });
        notes
    }

    /// Appends a copy of `more`.
    pub(crate) fn append(&mut self, more: &Self) {
        let before = self.records.len();
        self.records.extend_from_slice(&more.records);
        self.frames.extend_from_slice(&more.frames);
        let others = more.others.iter();
        self.others
            .extend(others.map(|(at, note)| (before + at, *note)));
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.records[..]) + size_of_val(&self.frames[..])
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.frames.clear();
        self.others.clear();
    }
}

/// The notes of half a turn. Records are left with TCP until it is over.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    list: NoteList,
    /// Frames of the batch that were dealt with.
    received: u32,
    /// What is to be noted of the frame that comes next.
    fate: Option<Noted>,
}

impl Notes {
    /// IP has dropped the frame that is dealt with.
    pub(crate) const fn on_dropped(&mut self, reason: ip::Dropped) {
        self.fate = Some(Noted::Dropped(reason));
    }

    /// The frame that is dealt with goes on to another shard.
    pub(crate) const fn on_handed_over(&mut self, to: usize) {
        self.fate = Some(Noted::HandedOver(to));
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
        let before = self.list.frames.len();
        self.collect(tcp, |what| match what {
            What::Received(..) => frames,
            _ => Frames::None,
        });
        let fate = self.fate.take().filter(|_| count > 0);
        if let Some(what) = fate.filter(|_| before == self.list.frames.len()) {
            self.list.others.push((before, Note { what, frames }));
        }
    }

    /// Segments were pushed to `tx`: the records since then are about them.
    pub(crate) fn on_sent(&mut self, tcp: &Tcp, tx: &mut TxBatch) {
        let mut pushes = tx.take_pushes();
        self.collect(tcp, |what| match what {
            What::Sent(..) => pushes.next().unwrap_or(Frames::None),
            _ => Frames::None,
        });
    }

    /// Something happened without frames.
    pub(crate) fn on_call(&mut self, tcp: &Tcp) {
        self.collect(tcp, |_| Frames::None);
    }

    /// Half a turn is over: its notes go with the frames to send.
    pub(crate) fn hand_over(&mut self, tcp: &mut Tcp, tx: &mut TxBatch) {
        self.on_call(tcp);
        self.received = 0;
        let dropped = tcp.take_records(&mut self.list.records);
        tx.put_notes(&mut self.list, dropped);
    }

    fn collect(&mut self, tcp: &Tcp, mut frames: impl FnMut(&What) -> Frames) {
        for record in tcp.records().get(self.list.frames.len()..).unwrap_or(&[]) {
            self.list.frames.push(frames(&record.what));
        }
    }
}
