//! The ring: the last packets and events of a shard, in memory that is taken once.

use ustack_tcp::time::Instant;

use crate::batch::{Frame, Offload, TxFrame};
use crate::observe::{Entry, Note, Part, Turn, with_consequences};

/// Bytes kept of each packet: headers and the first of what they carry.
pub(super) const KEPT: usize = 128;

/// The beginning of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    data: [u8; KEPT],
    kept: u8,
    /// Bytes of the whole frame.
    pub(super) len: u32,
    pub(super) offload: Offload,
}

impl Head {
    const EMPTY: Self = Self {
        data: [0; KEPT],
        kept: 0,
        len: 0,
        offload: Offload {
            checksum: crate::batch::Checksum::Complete,
            gso: None,
        },
    };

    pub(super) fn of(frame: &Frame) -> Self {
        let mut head = Self::EMPTY;
        head.keep(&frame.data);
        (head.len, head.offload) = (frame.data.len() as u32, frame.offload);
        head
    }

    pub(super) fn of_sent(frame: &TxFrame<'_>) -> Self {
        let mut head = Self::EMPTY;
        head.keep(frame.headers);
        frame.chunks.iter().for_each(|chunk| head.keep(chunk));
        (head.len, head.offload) = (frame.len() as u32, frame.offload);
        head
    }

    fn keep(&mut self, bytes: &[u8]) {
        let from = usize::from(self.kept);
        let count = bytes.len().min(KEPT - from);
        self.data[from..from + count].copy_from_slice(&bytes[..count]);
        self.kept += count as u8;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.data[..usize::from(self.kept)]
    }
}

/// What a place of the ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Received,
    Sent,
    /// Something happened between packets, or a packet has brought it about.
    Event,
}

/// A place of the ring.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) at: Instant,
    pub(super) kind: Kind,
    /// The packet; an event has none.
    pub(super) head: Head,
    /// Of several frames that a note is about, the first has the note.
    pub(super) note: Option<Note>,
    /// How many frames the note is about.
    pub(super) count: u32,
}

/// The last packets and events.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Vec<Slot>,
    capacity: usize,
    /// Where the next one goes.
    next: usize,
}

impl Ring {
    /// A ring of so many bytes, one place at least.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            capacity: (bytes / size_of::<Slot>()).max(1),
            next: 0,
        }
    }

    /// Keeps what happened in half a turn.
    pub(super) fn on_turn(&mut self, at: Instant, turn: &Turn<'_, Head, Head>) {
        turn.each(|entry| match entry {
            Entry::Received(head, part) => {
                let note = part.notes.first().filter(|_| part.index == 0);
                self.push(at, Kind::Received, Some(head), note, part.count);
            }
            Entry::Sent(head, part) => {
                let note = part.notes.first().filter(|_| part.index == 0);
                self.push(at, Kind::Sent, Some(head), note, part.count);
            }
            Entry::Event(note) => self.push(at, Kind::Event, None, Some(note), 0),
        });
    }

    /// What is used of a place is written in place: most of it stays as it was.
    fn push(
        &mut self,
        at: Instant,
        kind: Kind,
        head: Option<&Head>,
        note: Option<&Note>,
        count: u32,
    ) {
        if self.slots.len() < self.capacity {
            if self.slots.capacity() < self.capacity {
                self.slots.reserve_exact(self.capacity);
            }
            self.slots.push(Slot {
                at,
                kind,
                head: *head.unwrap_or(&Head::EMPTY),
                note: note.copied(),
                count,
            });
            return;
        }
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % self.capacity;
        (slot.at, slot.kind, slot.count) = (at, kind, count);
        slot.note = note.copied();
        if let Some(head) = head {
            let kept = usize::from(head.kept);
            slot.head.data[..kept].copy_from_slice(&head.data[..kept]);
            (slot.head.kept, slot.head.len) = (head.kept, head.len);
            slot.head.offload = head.offload;
        }
    }

    /// A copy of everything, oldest first.
    pub(super) fn copy(&self) -> Vec<Slot> {
        let (newer, older) = self.slots.split_at(self.next.min(self.slots.len()));
        [older, newer].concat()
    }
}

/// Frames of half a turn as a ring sees them.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) received: Vec<Head>,
    pub(super) sent: Vec<Head>,
}

impl Heads {
    pub(super) fn clear(&mut self) {
        self.received.clear();
        self.sent.clear();
    }
}

/// Turns a copy back into packets for whoever writes them, each with its notes.
pub(super) fn each(slots: &[Slot], mut tell: impl FnMut(&Slot, &Part<'_>)) {
    let (mut before, mut notes) = (Vec::new(), Vec::new());
    let (mut index, mut count) = (0, 1);
    let mut told = 0; // events to come that the last packet has told
    for (at, slot) in slots.iter().enumerate() {
        match (slot.kind, slot.note) {
            (Kind::Event, _) if told > 0 => told -= 1,
            (Kind::Event, note) => before.extend(note),
            (_, Some(note)) => {
                (index, count) = (0, slot.count.max(1));
                notes.clear();
                notes.push(note);
                let events = slots.get(at + count as usize..).unwrap_or_default();
                let events = events.iter().take_while(|slot| slot.kind == Kind::Event);
                notes.extend(events.filter_map(|slot| slot.note));
                notes.truncate(with_consequences(&notes).len());
                told = notes.len() - 1;
            }
            (_, None) => {
                index += 1;
                if slot.count <= 1 || index >= count {
                    notes.clear(); // nothing was noted of it, or its note is not in the ring any more
                    (index, count) = (0, 1);
                }
            }
        }
        if slot.kind != Kind::Event {
            let part = Part {
                before: &before,
                notes: &notes,
                index,
                count,
            };
            tell(slot, &part);
            before.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8, len: usize) -> Frame {
        Frame {
            data: vec![byte; len].into(),
            offload: Offload::default(),
        }
    }

    #[test]
    fn the_last_packets_stay_in_memory_that_is_taken_once() {
        let mut ring = Ring::new(10 * size_of::<Slot>());
        for n in 0..25 {
            let received = [Head::of(&frame(n, 40 + usize::from(n) * 10))];
            let turn = Turn {
                received: &received,
                sent: &[],
                first_sent: 0,
                notes: &[],
            };
            ring.on_turn(Instant::from_millis(n.into()), &turn);
        }
        assert_eq!(ring.slots.capacity(), 10);
        let copy = ring.copy();
        let bytes: Vec<_> = copy.iter().map(|slot| slot.head.bytes()[0]).collect();
        assert_eq!(bytes, (15..25).collect::<Vec<u8>>());
        for slot in &copy {
            let len = 40 + usize::from(slot.head.bytes()[0]) * 10;
            assert_eq!(slot.head.len as usize, len);
            assert_eq!(slot.head.bytes().len(), len.min(KEPT));
        }
    }
}
