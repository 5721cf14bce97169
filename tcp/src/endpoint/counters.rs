//! What the endpoint counts.

use core::ops::AddAssign;

use crate::error::Dropped;

/// Segments and events counted, under their SNMP (RFC 4022) or Linux names where those exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// `tcpActiveOpens`: connections begun, whatever became of them.
    pub active_opens: u64,
    /// `tcpPassiveOpens`: connections that listeners had to accept.
    pub passive_opens: u64,
    /// `tcpAttemptFails`.
    pub attempt_fails: u64,
    /// `tcpEstabResets`.
    pub estab_resets: u64,
    /// `tcpInSegs`: what a device joined counts once. Each was accepted, or dropped for one reason.
    pub in_segs: u64,
    /// `tcpOutRsts`: resets for segments that belong to nobody.
    pub out_rsts: u64,
    /// SYNs and ACKs dropped because the queue of connections to accept was full
    /// (`ListenOverflows`).
    pub listen_overflows: u64,
    /// Handshakes dropped for newer ones, and SYNs for which there was no room
    /// (`TCPReqQFullDrop`).
    pub req_q_full_drop: u64,
    /// SYNs answered with a cookie (`SyncookiesSent`).
    pub syncookies_sent: u64,
    /// Cookies that came back (`SyncookiesRecv`).
    pub syncookies_recv: u64,
    /// ACKs that held none (`SyncookiesFailed`).
    pub syncookies_failed: u64,
    /// ACKs that opened no connection yet, for want of data (`TCPDeferAcceptDrop`).
    pub defer_accept_drop: u64,
    /// Active opens whose SYN's data was taken (`TCPFastOpenActive`).
    pub fast_open_active: u64,
    /// Those whose SYN's data was not (`TCPFastOpenActiveFail`).
    pub fast_open_active_fail: u64,
    /// Passive opens by cookie (`TCPFastOpenPassive`).
    pub fast_open_passive: u64,
    /// SYNs with a wrong cookie (`TCPFastOpenPassiveFail`).
    pub fast_open_passive_fail: u64,
    /// SYNs with a good cookie beyond the limit of the listener (`TCPFastOpenListenOverflow`).
    pub fast_open_listen_overflow: u64,
    /// Cookies asked for and given (`TCPFastOpenCookieReqd`).
    pub fast_open_cookie_reqd: u64,
    /// Connections that went through TIME-WAIT (`TW`).
    pub time_waits: u64,
    /// TIME-WAIT records that ended early, for newer ones (`TCPTimeWaitOverflow`).
    pub time_wait_overflow: u64,
    /// TIME-WAIT that ended early, for a new connection of its flow (`TWRecycled`).
    pub time_wait_recycled: u64,
    /// Connections reset on release because there were too many orphans (`TCPAbortOnMemory`).
    pub abort_on_memory: u64,
    /// Answers dropped because too many were waiting.
    pub replies_dropped: u64,
    /// Ranges above a gap that memory was too short for (`OfoPruned`).
    pub ofo_pruned: u64,
    /// Segments in order that memory was too short for; they come again (`TCPRcvQDrop`).
    pub rcv_q_drop: u64,
    /// Segments above a gap that memory was too short for (`TCPOFODrop`).
    pub ofo_drop: u64,
    /// Chunks that were copied together to save memory (`TCPRcvCollapsed`).
    pub rcv_collapsed: u64,
    /// Writers that waited for memory although they had nothing queued.
    pub writers_starved: u64,
    /// Times that memory became short (`TCPMemoryPressures`).
    pub memory_pressures: u64,
    /// Milliseconds for which it was, up to when it no longer was (`TCPMemoryPressuresChrono`).
    pub memory_pressures_chrono: u64,
    /// Segments that were dropped, for whatever reason.
    pub dropped: u64,
    by_reason: [u64; Dropped::ALL.len()],
}

/// Sums the counters of several endpoints: every field, or it does not compile.
macro_rules! add_fields {
    ($to:ident += $from:ident { $($field:ident),* $(,)? } $by_reason:ident) => {
        let Self { $($field,)* $by_reason } = $from;
        $($to.$field += $field;)*
        for (to, from) in $to.$by_reason.iter_mut().zip($by_reason) {
            *to += from;
        }
    };
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        add_fields!(self += other {
            active_opens, passive_opens, attempt_fails, estab_resets, in_segs, out_rsts,
            listen_overflows, req_q_full_drop, syncookies_sent, syncookies_recv,
            syncookies_failed, defer_accept_drop, fast_open_active, fast_open_active_fail,
            fast_open_passive, fast_open_passive_fail, fast_open_listen_overflow,
            fast_open_cookie_reqd, time_waits, time_wait_overflow, time_wait_recycled,
            abort_on_memory, replies_dropped, ofo_pruned, rcv_q_drop, ofo_drop, rcv_collapsed,
            writers_starved, memory_pressures, memory_pressures_chrono, dropped,
        } by_reason);
    }
}

impl Counters {
    /// Segments dropped for `reason`; over all reasons, [`dropped`](Self::dropped).
    pub fn dropped_for(&self, reason: Dropped) -> u64 {
        self.by_reason.get(reason as usize).copied().unwrap_or(0)
    }

    /// Segments that went all the way.
    pub const fn accepted(&self) -> u64 {
        self.in_segs - self.dropped
    }

    /// `segments` went all the way together.
    pub(super) const fn on_accepted(&mut self, segments: u64) {
        self.in_segs += segments;
    }

    pub(super) fn on_segment(&mut self, outcome: Result<(), Dropped>) {
        self.in_segs += 1;
        let Err(reason) = outcome else { return };
        self.dropped += 1;
        if let Some(count) = self.by_reason.get_mut(reason as usize) {
            *count += 1;
        }
    }
}
