//! When a frame of the recorded end goes in: at its time, unless it speaks of something that the
//! stack has yet to do.

use std::collections::VecDeque;
use std::time::Duration;

use crate::conversation::Said;
use crate::divergence::Fault;
use crate::host::Host;
use crate::packet::{FIN, RST, SYN};
use crate::stream::Replay;

/// How long the stack may keep a frame waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// A frame that waits longer stands for a moment that does not come: the other end acknowledges
/// everything it would have, whatever it had when it sent the frame.
const HOPELESS: Duration = Duration::from_millis(300);
/// How long the other end takes to acknowledge what it would have.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// A full window releases a reader that should not have begun yet after this time.
const STALL: Duration = Duration::from_secs(2);

/// Why a frame waits.
#[derive(Clone, Copy)]
pub(crate) enum Waits {
    /// For the stack's SYN.
    Syn,
    /// For this position to be sent (again).
    Position(u64),
    /// For room up to this position.
    Window(u64),
}

impl<H: Host> Replay<H> {
    /// Puts the next frame in if its time has come and it need not wait.
    pub(crate) fn inject_due(&mut self) -> Result<bool, Fault> {
        let Some(said) = self.frames.front() else {
            return Ok(false);
        };
        let due = said.time + self.delay;
        if self.now < due {
            return Ok(false);
        }
        let Some(waits) = self.waits(said) else {
            self.delay += self.now.saturating_sub(due);
            self.waiting_since = None;
            if let Some(said) = self.frames.pop_front() {
                self.last_number = said.number;
                self.inject(&said, &self.edit(&said, None))?;
                self.injected = self.injected.max(said.end());
                let sacked = self.sack(&said).into_iter().map(|(_, right)| right).max();
                self.sacked = self.sacked.max(sacked.unwrap_or(0));
            }
            return Ok(true);
        };
        let since = *self.waiting_since.get_or_insert(self.now);
        let waited = self.now.saturating_sub(since);
        if waited > STALL && matches!(waits, Waits::Window(_)) {
            self.app.reads_from = Duration::ZERO;
        }
        if waited > PATIENCE {
            return Err(self.waited(said, waits).into());
        }
        if waited > HOPELESS && matches!(waits, Waits::Window(_)) {
            return self.repeat_first();
        }
        self.acknowledge_meanwhile(waits)
    }

    /// A sender out of window repeats what was lost before it goes on: the first later frame that
    /// fits goes in now.
    fn repeat_first(&mut self) -> Result<bool, Fault> {
        let fits = |said: &Said| {
            !said.tcp.payload.is_empty() && !said.tcp.has(FIN | RST) && self.waits(said).is_none()
        };
        let Some(index) = self.frames.iter().position(fits) else {
            return Ok(false);
        };
        if let Some(said) = self.frames.remove(index) {
            self.last_number = said.number;
            self.inject(&said, &self.edit(&said, None))?;
            self.injected = self.injected.max(said.end());
        }
        Ok(true)
    }

    fn waits(&self, said: &Said) -> Option<Waits> {
        if said.ack.is_some() && self.checker.isn().is_none() {
            return Some(Waits::Syn);
        }
        if said.is_premature {
            return None;
        }
        let sent = |from, to| {
            self.checker
                .transmitted
                .first_not_above(&self.lost, from, to)
        };
        let acked = self.checker.acked_by_them();
        let missing = said.ack.and_then(|ack| sent(acked.min(ack), ack));
        let missing = missing.or_else(|| {
            let mut blocks = self.sack(said).into_iter();
            blocks.find_map(|(left, right)| sent(left, right))
        });
        if let Some(at) = missing {
            return Some(Waits::Position(at));
        }
        let end = said.end() - said.tcp.has(FIN) as u64;
        let is_data = !said.tcp.payload.is_empty() && !said.tcp.has(SYN | RST);
        (is_data && end > self.checker.receive_edge()).then_some(Waits::Window(end))
    }

    /// While a frame waits, the other end acknowledges the part of it that it would have.
    fn acknowledge_meanwhile(&mut self, waits: Waits) -> Result<bool, Fault> {
        let Waits::Position(missing) = waits else {
            return Ok(false);
        };
        let Some(said) = self.frames.front().cloned() else {
            return Ok(false);
        };
        let (Some(ack), acked) = (said.ack, self.checker.acked_by_them()) else {
            return Ok(false);
        };
        let end = self.checker.end();
        let ready = match self.waiting_since {
            Some(since) if self.now.saturating_sub(since) > HOPELESS => {
                let missing = self
                    .checker
                    .transmitted
                    .first_not_above(&self.lost, acked, end);
                missing.unwrap_or(end)
            }
            _ => missing.min(ack),
        };
        if self.now < self.last_ack + ACK_DELAY {
            return Ok(false);
        }
        if ready <= acked {
            return self.sack_meanwhile(acked);
        }
        self.inject(&said, &self.edit(&said, Some(ready)))?;
        Ok(true)
    }

    /// What lies above the first hole and was not lost, the other end reports by SACK.
    fn sack_meanwhile(&mut self, acked: u64) -> Result<bool, Fault> {
        let (sent, end) = (&self.checker.transmitted, self.checker.end());
        let mut blocks = VecDeque::new();
        let mut at = acked;
        while let Some(left) = sent.first_above(&self.lost, at, end) {
            at = sent.first_not_above(&self.lost, left, end).unwrap_or(end);
            blocks.push_front((left, at));
        }
        if blocks
            .front()
            .is_none_or(|&(_, right)| right <= self.sacked)
        {
            return Ok(false);
        }
        let said = self.conversation.said.iter().filter(|said| !said.ours);
        let Some(said) = said.max_by_key(|said| said.tcp.options.sack.len()).cloned() else {
            return Ok(false);
        };
        if said.tcp.options.sack.is_empty() {
            return Ok(false);
        }
        let isn = self.checker.isn().unwrap_or_default();
        let wire = |position: u64| isn.wrapping_add(position as u32);
        let mut edit = self.edit(&said, Some(acked));
        edit.sack = blocks
            .iter()
            .map(|&(left, right)| (wire(left), wire(right)))
            .collect();
        edit.tsecr = self.echo.or(edit.tsecr);
        edit.tsval = self.tsval.or(edit.tsval);
        edit.bare = self
            .frames
            .front()
            .and_then(|said| self.edit(said, Some(acked)).bare);
        self.sacked = blocks.front().map_or(self.sacked, |&(_, right)| right);
        self.inject(&said, &edit)?;
        Ok(true)
    }
}
