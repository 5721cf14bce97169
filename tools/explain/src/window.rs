//! The window that one end announces, and what it does to the other.

use std::time::Duration;

use serde::Serialize;

use crate::moment::{Moment, seconds};

/// Closed periods kept; more are only counted.
const MAX_CLOSED: usize = 64;

/// A time during which nothing could be sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Closed {
    /// The acknowledgment that closed the window.
    pub began: Moment,
    /// The one that opened it; it stayed closed otherwise.
    pub ended: Option<Moment>,
    /// How often the other end asked.
    pub probes: u32,
    /// How often it was answered.
    pub answers: u32,
    /// It opened in answer to a probe.
    pub by_probe: bool,
}

/// What one end announces.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The right edge, as a position in the other end's stream.
    pub(crate) edge: u64,
    /// The window as it was announced last, and the largest so far, in bytes.
    pub(crate) last: u64,
    pub(crate) largest: u64,
    pub(crate) closed: Vec<Closed>,
    pub(crate) uncounted: usize,
    is_closed: bool,
    /// A probe waits for its answer.
    asked: bool,
    /// Steps forward of the edge that were smaller than a sender should be given, and all steps.
    pub(crate) small_steps: u32,
    pub(crate) steps: u32,
    pub(crate) first_small: Option<Moment>,
    /// Segments that filled the window to its edge though they were small.
    pub(crate) small_fills: u32,
    /// Since when the other end has filled the window.
    full_since: Option<Moment>,
    pub(crate) full: Full,
}

/// Times in which the window was full.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Full {
    /// How often.
    pub times: u32,
    /// How long in all.
    #[serde(serialize_with = "seconds")]
    pub time: Duration,
    /// The first time.
    pub first: Option<Moment>,
}

impl Window {
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The period that lasts.
    pub(crate) fn closed_now(&self) -> Option<&Closed> {
        self.closed.last().filter(|closed| closed.ended.is_none())
    }

    /// An acknowledgment of `ack` announces `size` bytes; `mss`: what the other end would send.
    pub(crate) fn announce(&mut self, now: Moment, ack: u64, size: u64, mss: u64) {
        let edge = ack + size;
        if edge < self.edge && ack < self.edge.saturating_sub(self.last) {
            return; // an older one, overtaken
        }
        let step = edge.saturating_sub(self.edge);
        // RFC 9293 §3.8.6.2.2: a receiver moves the edge by an MSS or half its buffer at least.
        let least = mss.min(self.largest / 2);
        if self.edge > 0 && step > 0 {
            self.steps += 1;
            if step < least && size < least {
                self.small_steps += 1;
                self.first_small.get_or_insert(now);
            }
        }
        if step > 0
            && let Some(since) = self.full_since.take()
        {
            self.full.time += now.since(since);
        }
        self.largest = self.largest.max(size);
        self.last = size;
        self.edge = edge;
        self.open_or_close(now, size);
        self.asked = false;
    }

    fn open_or_close(&mut self, now: Moment, size: u64) {
        if self.is_closed
            && self.asked
            && let Some(closed) = self.closed.last_mut()
        {
            closed.answers += 1;
        }
        if size == 0 && !self.is_closed {
            self.is_closed = true;
            if self.closed.len() == MAX_CLOSED {
                self.uncounted += 1;
                return;
            }
            self.closed.push(Closed {
                began: now,
                ended: None,
                probes: 0,
                answers: 0,
                by_probe: false,
            });
        } else if size > 0 && self.is_closed {
            self.is_closed = false;
            if let Some(closed) = self
                .closed
                .last_mut()
                .filter(|closed| closed.ended.is_none())
            {
                closed.ended = Some(now);
                closed.by_probe = self.asked && closed.probes > 0;
            }
        }
    }

    /// The other end asks whether the window has opened.
    pub(crate) fn on_probe(&mut self) {
        self.asked = true;
        if self.is_closed
            && let Some(closed) = self.closed.last_mut()
        {
            closed.probes += 1;
        }
    }

    /// The other end has sent bytes up to `end`, `length` of them in one segment; it has more of
    /// them when a segment is as large as the window lets it be.
    pub(crate) fn on_sent(&mut self, now: Moment, end: u64, length: u64, mss: u64) {
        if self.edge == 0 || end + mss <= self.edge {
            return;
        }
        if end >= self.edge && length < mss.min(self.largest / 2) {
            self.small_fills += 1;
        }
        let is_full = end >= self.edge || length >= mss;
        if is_full && self.full_since.is_none() {
            self.full_since = Some(now);
            self.full.times += 1;
            self.full.first.get_or_insert(now);
        }
    }

    /// Nothing is on its way, so nothing waits for the window.
    pub(crate) fn on_flight_empty(&mut self) {
        if !self.is_closed {
            self.full_since = None;
        }
    }
}
