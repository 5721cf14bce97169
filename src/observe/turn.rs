//! The frames of half a turn, in the order in which the stack dealt with them.

use super::{Frames, Note, Noted};

/// What happened in half a turn: frames that came, frames to send, and the notes between them.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a, R, S> {
    /// Frames received, in order of arrival.
    pub received: &'a [R],
    /// Frames to send, oldest first.
    pub sent: &'a [S],
    /// The number of the first of them.
    pub first_sent: u64,
    /// What was noted.
    pub notes: &'a [Note],
}

/// One thing after the other.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a, R, S> {
    /// A frame came.
    Received(&'a R, Part<'a>),
    /// A frame leaves.
    Sent(&'a S, Part<'a>),
    /// Something happened.
    Event(&'a Note),
}

/// What is known of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// What happened before and has no frames: of any flow.
    pub before: &'a [Note],
    /// How many events of the flow came before these and are left out.
    pub left_out: u32,
    /// What was noted, and what that has brought about at once.
    pub notes: &'a [Note],
    /// Which of the frames that the first note is about this one is.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Part<'_> {
    /// Nothing was noted.
    pub(super) const NONE: Self = Self {
        before: &[],
        left_out: 0,
        notes: &[],
        index: 0,
        count: 1,
    };
}

impl<'a, R, S> Turn<'a, R, S> {
    /// Everything, in order. What a packet has changed is told with the packet and once more by
    /// itself.
    pub fn each(&self, mut tell: impl FnMut(Entry<'a, R, S>)) {
        let (mut received, mut sent) = (0, 0);
        let mut told = 0; // notes that some packet has told
        for (at, note) in self.notes.iter().enumerate() {
            let notes = with_consequences(&self.notes[at..]);
            let (first, count) = match note.frames {
                Frames::None => {
                    tell(Entry::Event(note));
                    continue;
                }
                Frames::Received { first, count } => (first as usize, count),
                Frames::Sent { first, count } => {
                    // What was pushed before these frames has left already.
                    let skipped = self.first_sent.saturating_sub(first);
                    let first = first.saturating_sub(self.first_sent) as usize;
                    (first, count.saturating_sub(skipped as u32))
                }
            };
            let before = self.notes.get(told..at).unwrap_or_default();
            told = at + notes.len();
            let parts = (0..count).map(|index| Part {
                before,
                left_out: 0,
                notes,
                index,
                count,
            });
            if let Frames::Received { .. } = note.frames {
                up_to(self.received, &mut received, first, |frame| {
                    tell(Entry::Received(frame, Part::NONE));
                });
                for (frame, part) in self.received[received..].iter().zip(parts) {
                    tell(Entry::Received(frame, part));
                    received += 1;
                }
            } else {
                up_to(self.sent, &mut sent, first, |frame| {
                    tell(Entry::Sent(frame, Part::NONE));
                });
                for (frame, part) in self.sent[sent..].iter().zip(parts) {
                    tell(Entry::Sent(frame, part));
                    sent += 1;
                }
            }
        }
        for frame in &self.received[received..] {
            tell(Entry::Received(frame, Part::NONE));
        }
        for frame in &self.sent[sent..] {
            tell(Entry::Sent(frame, Part::NONE));
        }
    }
}

/// Frames that nothing was noted of stand before those that follow them.
fn up_to<'a, F>(frames: &'a [F], at: &mut usize, first: usize, mut tell: impl FnMut(&'a F)) {
    let end = first.clamp(*at, frames.len());
    frames[*at..end].iter().for_each(&mut tell);
    *at = end;
}

/// A note, and those behind it that it has brought about: of the same flow, without frames, and no
/// timer.
fn with_consequences(notes: &[Note]) -> &[Note] {
    use ustack_tcp::observe::What;
    let Some(Note {
        what: Noted::Tcp(record),
        ..
    }) = notes.first()
    else {
        return &notes[..notes.len().min(1)];
    };
    let follows = |note: &&Note| match note {
        Note {
            what: Noted::Tcp(next),
            frames: Frames::None,
        } => {
            let is_event = !matches!(
                next.what,
                What::Timer(_) | What::Sent(..) | What::Received(..)
            );
            is_event && next.flow == record.flow && next.at == record.at
        }
        _ => false,
    };
    &notes[..=notes[1..].iter().take_while(follows).count()]
}
