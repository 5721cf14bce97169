//! What passes between the two ends: judged by the referee, and kept where a capture is wanted.

use bytes::Bytes;
use referee::{Options, Referee, View, Violation};
use ustack_tcp::time::Instant;

use crate::capture::Seen;
use crate::script::End;

/// Watches both ends of the link.
#[derive(Debug)]
pub(crate) struct Wire {
    referee: Referee,
    /// Packets seen; the referee's numbers, which are those of the capture, too.
    seen: usize,
    record: Option<Vec<Seen>>,
}

impl Wire {
    /// Judges every packet, and keeps it if `record`.
    pub(crate) fn new(record: bool) -> Self {
        Self {
            referee: Referee::new(View::Ends, Options::default()),
            seen: 0,
            record: record.then(Vec::new),
        }
    }

    /// A packet leaves `end`.
    pub(crate) fn on_sent(&mut self, end: End, now: Instant, packet: &Bytes) {
        let number = self.keep(end, now, packet, true);
        let at = now.saturating_since(Instant::ZERO);
        self.referee.on_sent(number, at, packet);
    }

    /// A packet has arrived at `end`.
    pub(crate) fn on_delivered(&mut self, end: End, now: Instant, packet: &Bytes) {
        let number = self.keep(end, now, packet, false);
        let at = now.saturating_since(Instant::ZERO);
        self.referee.on_delivered(number, at, packet);
    }

    /// Numbers a packet, and keeps it.
    fn keep(&mut self, end: End, now: Instant, packet: &Bytes, sent: bool) -> usize {
        self.seen += 1;
        if let Some(record) = &mut self.record {
            record.push(Seen {
                end,
                sent,
                at: now.saturating_since(Instant::ZERO),
                data: packet.clone(),
            });
        }
        self.seen
    }

    /// Nothing more will pass: what the referee found, and what was kept.
    pub(crate) fn finish(mut self, now: Instant) -> (Vec<Violation>, Vec<Seen>) {
        self.referee.finish(now.saturating_since(Instant::ZERO));
        let violations = self.referee.take_violations();
        (violations, self.record.unwrap_or_default())
    }
}
