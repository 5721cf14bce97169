//! How much new data leaves: the congestion window, the peer's window, Nagle, cork, and the
//! sender's side of silly window avoidance (RFC 9293 §3.7.4, §3.8.6.2.1).

use core::ops::Range;

use crate::send::Fin;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::Connection;

/// The longest time that `TCP_CORK` holds bytes back (Linux: 200 ms).
const CORK_CEILING: Duration = Duration::from_millis(200);

impl Connection {
    /// The new data to send now, in whole segments where that can be; `None` when it has to wait.
    pub(super) fn next_new_data(&mut self, now: Instant, limit: u32) -> Option<Range<SeqNum>> {
        let snd = &self.snd;
        let unsent = snd.unsent();
        let fin_waits = snd.fin == Fin::Queued;
        if unsent == 0 && !fin_waits {
            return None;
        }
        if self.ecn.hold().is_some() {
            return None; // EC-6
        }
        let limit = if self.ecn.is_cwr_owed() {
            limit.min(self.options_mss()) // alone: what cuts super-segments could repeat the flag
        } else {
            limit
        };
        let window = snd.usable_window();
        let room = self.cwnd_room();
        let mss = self.options_mss();
        let start = snd.nxt;
        if unsent == 0 {
            return (window > 0).then(|| start..start + 1u32); // FIN alone
        }
        let mut len = unsent.min(window).min(limit);
        if len > room {
            // Whole segments only, lest the pipe fills with small ones; but one always.
            len = if room >= mss { room / mss * mss } else { 0 };
            if len == 0 {
                return None;
            }
        }
        if len < unsent && len > mss {
            len -= len % mss;
        }
        if len < mss && len < unsent {
            len = self.silly_window(len)?;
        } else if len == unsent && !len.is_multiple_of(mss) && self.tail_waits(now) {
            len -= len % mss;
            if len == 0 {
                return None;
            }
        }
        let fin = fin_waits && len == unsent && len < window;
        Some(start..start + len + u32::from(fin))
    }

    /// Less than a segment although more is queued: the window is small. Worth sending only if
    /// it is half of the largest ever offered, or when the override timer says so (MUST-38).
    fn silly_window(&mut self, len: u32) -> Option<u32> {
        if len == 0 {
            return None;
        }
        let alone = self.snd.flight.outstanding() == 0;
        let overdue = self.timers.probe_owed && alone;
        if overdue {
            self.timers.probe_owed = false;
        }
        let worthwhile = len >= self.snd.max_wnd / 2 && (alone || self.options.nodelay);
        (overdue || worthwhile).then_some(len)
    }

    /// Whether the last bytes, less than a segment, wait for company: for an acknowledgment (Nagle,
    /// SHLD-7, MUST-17), or for the application (cork). Urgent data and FIN do not wait.
    fn tail_waits(&mut self, now: Instant) -> bool {
        let snd = &self.snd;
        if snd.fin != Fin::Open || snd.up.is_some() || snd.pushed > snd.nxt {
            return false;
        }
        if self.options.cork {
            self.timers.cork.get_or_insert(now + CORK_CEILING);
            return true;
        }
        if self.options.nodelay {
            return false;
        }
        if self.options.minshall {
            snd.small_end > snd.una
        } else {
            snd.flight.outstanding() > 0
        }
    }

    /// What is queued now waits no longer.
    pub(super) fn push_queued(&mut self) {
        self.timers.cork = None;
        self.snd.pushed = self.snd.buffer.end();
    }
}
