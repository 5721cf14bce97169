//! Where a shard collects its notes.

use ustack_tcp::Tcp;
use ustack_tcp::observe::{Record, What};

use super::{Frames, Note, Noted};
use crate::batch::TxBatch;
use crate::ip;

/// The notes of half a turn.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    list: Vec<Note>,
    /// Records on their way from the core.
    fresh: Vec<Record>,
    /// Frames of the batch that were dealt with.
    received: u32,
    /// What is to be noted of the frame that comes next.
    fate: Option<Noted>,
    dropped: u64,
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
    pub(crate) fn on_received(&mut self, tcp: &mut Tcp, count: u32) {
        let frames = match count {
            0 => Frames::None,
            count => Frames::Received {
                first: self.received,
                count,
            },
        };
        self.received += count;
        let before = self.list.len();
        self.collect(tcp, |what| match what {
            What::Received(..) => frames,
            _ => Frames::None,
        });
        let fate = self.fate.take().filter(|_| count > 0);
        if let Some(what) = fate.filter(|_| before == self.list.len()) {
            self.list.push(Note { what, frames });
        }
    }

    /// Segments were pushed to `tx`: the records since then are about them.
    pub(crate) fn on_sent(&mut self, tcp: &mut Tcp, tx: &mut TxBatch) {
        let mut pushes = tx.take_pushes();
        self.collect(tcp, |what| match what {
            What::Sent(..) => pushes.next().unwrap_or(Frames::None),
            _ => Frames::None,
        });
    }

    /// Something happened without frames.
    pub(crate) fn on_call(&mut self, tcp: &mut Tcp) {
        self.collect(tcp, |_| Frames::None);
    }

    /// Half a turn is over: its notes go with the frames to send.
    pub(crate) fn hand_over(&mut self, tcp: &mut Tcp, tx: &mut TxBatch) {
        self.on_call(tcp);
        self.received = 0;
        tx.put_notes(&mut self.list, core::mem::take(&mut self.dropped));
    }

    fn collect(&mut self, tcp: &mut Tcp, mut frames: impl FnMut(&What) -> Frames) {
        self.dropped += tcp.take_records(&mut self.fresh);
        if self.fresh.is_empty() {
            return;
        }
        self.list.extend(self.fresh.drain(..).map(|record| Note {
            frames: frames(&record.what),
            what: Noted::Tcp(record),
        }));
    }
}
