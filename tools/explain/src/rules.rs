//! The rules of the wire, judged by the referee as the segments of a conversation pass.

use bytes::Bytes;
use referee::{Options, Referee, View, Violation};

use crate::moment::Moment;
use crate::side::Side;

/// Violations kept; more are only counted.
const MAX_KEPT: usize = 16;

/// The referee of one conversation, and what it found.
#[derive(Debug)]
pub(crate) struct Rules {
    referee: Option<Box<Referee>>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) count: usize,
    /// It had to be sent away before the end, as memory was scarce or packets were cut.
    pub(crate) stopped: bool,
}

impl Rules {
    /// Conversations without SYN cannot be judged.
    pub(crate) fn new(judges: bool) -> Self {
        let point = View::Point { near: Vec::new() };
        let options = Options { offload: true };
        let referee = judges.then(|| Box::new(Referee::new(point, options)));
        Self {
            referee,
            violations: Vec::new(),
            count: 0,
            stopped: false,
        }
    }

    pub(crate) fn on_packet(&mut self, now: Moment, data: &Bytes) {
        let Some(referee) = &mut self.referee else {
            return;
        };
        let found = referee.on_seen(now.packet, now.at, data, false);
        if found > 0 {
            self.count += found;
            let room = MAX_KEPT.saturating_sub(self.violations.len());
            self.violations
                .extend(referee.take_violations().into_iter().take(room));
        }
    }

    /// All was said.
    pub(crate) fn rest(&mut self) {
        self.referee = None;
    }

    /// From here on nothing can be judged.
    pub(crate) fn stop(&mut self) {
        self.stopped |= self.referee.take().is_some();
    }

    /// Bytes that the referee keeps: those that are not acknowledged.
    pub(crate) fn held(&self, sides: &[Side; 2]) -> usize {
        if self.referee.is_none() {
            return 0;
        }
        sides.iter().map(|side| side.flight.size() as usize).sum()
    }
}
