//! Events that wait for the next packet of their flow, to be told with it: timers, mostly.

use std::collections::HashMap;
use std::mem;

use ustack_tcp::FlowKey;

use super::{Note, Noted, Part};

/// Events of a flow that wait; of more, the newest.
const MAX_EVENTS: usize = 32;

/// Flows that may wait; of more, those to which something happened last.
const MAX_FLOWS: usize = 1024;

/// What has happened to each flow since its last packet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    flows: HashMap<FlowKey, Events>,
    /// Events that came so far.
    count: u64,
    forgotten: u64,
}

/// Events of one flow, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Events {
    notes: Vec<Note>,
    /// How many came before them.
    left_out: u32,
    /// Which of all the last one was.
    last: u64,
}

impl Waiting {
    /// Something happened.
    pub(crate) fn push(&mut self, note: &Note) {
        let Noted::Tcp(record) = &note.what else {
            return; // of no flow
        };
        if self.flows.len() == MAX_FLOWS && !self.flows.contains_key(&record.flow) {
            self.forget_oldest();
        }
        self.count += 1;
        let events = self.flows.entry(record.flow).or_default();
        events.last = self.count;
        if events.notes.len() == MAX_EVENTS {
            events.notes.remove(0);
            events.left_out += 1;
        }
        events.notes.push(*note);
    }

    /// A packet's own events are told with it; what has waited for it is taken.
    pub(crate) fn take(&mut self, part: &Part<'_>) -> Events {
        match part.notes.first().map(|note| &note.what) {
            Some(Noted::Tcp(record)) if !self.flows.is_empty() => {
                self.flows.remove(&record.flow).unwrap_or_default()
            }
            _ => Events::default(),
        }
    }

    /// Events of flows that were forgotten since the last call.
    pub(crate) fn take_forgotten(&mut self) -> u64 {
        mem::take(&mut self.forgotten)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.flows.iter().min_by_key(|(_, events)| events.last);
        if let Some(events) = oldest
            .map(|(flow, _)| *flow)
            .and_then(|flow| self.flows.remove(&flow))
        {
            self.forgotten += u64::from(events.left_out) + events.notes.len() as u64;
        }
    }
}

impl Events {
    /// `part` with them before it.
    pub(crate) fn before<'a>(&'a self, part: &Part<'a>) -> Part<'a> {
        Part {
            before: &self.notes,
            left_out: self.left_out,
            ..*part
        }
    }
}

#[cfg(test)]
mod tests {
    use ustack_tcp::observe::Timer;
    use ustack_tcp::time::Instant;

    use super::*;
    use crate::observe::{self, Frames, comment};

    fn timer(port: u16, count: u8) -> Note {
        let record = observe::timer(Instant::ZERO, port, Timer::Persist(count));
        Note {
            what: Noted::Tcp(record),
            frames: Frames::None,
        }
    }

    fn part(notes: &[Note]) -> Part<'_> {
        Part {
            notes,
            ..Part::NONE
        }
    }

    #[test]
    fn a_packet_takes_the_events_of_its_flow_only() {
        let mut waiting = Waiting::default();
        for port in [1, 2, 1] {
            waiting.push(&timer(port, 1));
        }
        let packet = [timer(1, 9)];
        let dropped = Note {
            what: Noted::Dropped(crate::ip::Dropped::Truncated),
            frames: Frames::Received { first: 0, count: 1 },
        };
        assert_eq!(waiting.take(&part(&[dropped])).notes, []);
        assert_eq!(waiting.take(&part(&[])).notes, []);
        let events = waiting.take(&part(&packet));
        assert_eq!(events.notes, [timer(1, 1), timer(1, 1)]);
        assert_eq!(waiting.take(&part(&packet)).notes, []);
        assert_eq!(waiting.take(&part(&[timer(2, 9)])).notes, [timer(2, 1)]);
    }

    #[test]
    fn of_many_events_the_newest_stay_and_the_others_are_counted() {
        let mut waiting = Waiting::default();
        for count in 0..100 {
            waiting.push(&timer(1, count));
        }
        let packet = [timer(1, 200)];
        let events = waiting.take(&part(&packet));
        assert_eq!(
            events.notes.first(),
            Some(&timer(1, 100 - MAX_EVENTS as u8))
        );
        assert_eq!(events.notes.last(), Some(&timer(1, 99)));
        let mut text = String::new();
        comment(&events.before(&part(&packet)), &mut text);
        let words = "; before that, 68 earlier left out; ";
        assert!(text.contains(words), "{text}");
        assert!(text.ends_with(" ×99"), "{text}");
    }

    #[test]
    fn of_many_flows_those_stay_to_which_something_happened_last() {
        let mut waiting = Waiting::default();
        for port in 0..2_000 {
            waiting.push(&timer(port, 1));
            waiting.push(&timer(0, 1)); // goes on all the time
        }
        assert_eq!(waiting.flows.len(), MAX_FLOWS);
        assert_eq!(waiting.take_forgotten(), 2_000 - MAX_FLOWS as u64);
        assert_eq!(waiting.take_forgotten(), 0);
        for (port, is_there) in [(0, true), (1, false), (1_999, true)] {
            let events = waiting.take(&part(&[timer(port, 9)]));
            assert_eq!(!events.notes.is_empty(), is_there, "{port}");
        }
    }
}
