//! What the endpoint counts.

use core::net::IpAddr;
use core::ops::AddAssign;

use bytes::Bytes;

use crate::error::Dropped;
use crate::segment::{Flags, Transmit, TxMeta};

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
    /// `tcpOutSegs`: segments sent, as they are on the wire.
    pub out_segs: u64,
    /// `tcpOutRsts`: segments sent with RST.
    pub out_rsts: u64,
    /// `tcpRetransSegs`: segments sent again, those of handshakes included.
    pub retrans_segs: u64,
    /// SYNs and SYN,ACKs sent again (`TCPSynRetrans`).
    pub syn_retrans: u64,
    /// Retransmission timeouts (`TCPTimeouts`).
    pub timeouts: u64,
    /// Probes of a tail (`TCPLossProbes`).
    pub loss_probes: u64,
    /// Losses of one segment that such a probe repaired (`TCPLossProbeRecovery`).
    pub loss_probe_recoveries: u64,
    /// Episodes of loss recovery by SACK (`TCPSackRecovery`).
    pub sack_recoveries: u64,
    /// Episodes of loss recovery without SACK (`TCPRenoRecovery`).
    pub reno_recoveries: u64,
    /// Reductions of the window that were taken back: nothing had been lost.
    pub undos: u64,
    /// D-SACK blocks received (`TCPDSACKRecv`).
    pub dsacks_received: u64,
    /// Segments above a gap that were queued (`TCPOFOQueue`).
    pub out_of_order: u64,
    /// ACKs that showed segments to have overtaken others (`TCPSACKReorder`).
    pub reorderings: u64,
    /// Probes of a closed window (`TCPWinProbe`).
    pub window_probes: u64,
    /// Probes of an idle peer (`TCPKeepAlive`).
    pub keepalives: u64,
    /// Open connections given up because the peer answered no more (`TCPAbortOnTimeout`).
    pub abort_on_timeout: u64,
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

/// What a connection has to say for [`Counters`] after a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) retrans_segs: u32,
    pub(crate) timeouts: u16,
    pub(crate) loss_probes: u16,
    pub(crate) loss_probe_recoveries: u16,
    pub(crate) sack_recoveries: u16,
    pub(crate) reno_recoveries: u16,
    pub(crate) undos: u16,
    pub(crate) dsacks_received: u16,
    pub(crate) out_of_order: u16,
    pub(crate) reorderings: u16,
    pub(crate) window_probes: u16,
    pub(crate) keepalives: u16,
}

impl AddAssign<&Tally> for Counters {
    fn add_assign(&mut self, tally: &Tally) {
        let Tally {
            retrans_segs,
            timeouts,
            loss_probes,
            loss_probe_recoveries,
            sack_recoveries,
            reno_recoveries,
            undos,
            dsacks_received,
            out_of_order,
            reorderings,
            window_probes,
            keepalives,
        } = *tally;
        self.retrans_segs += u64::from(retrans_segs);
        self.timeouts += u64::from(timeouts);
        self.loss_probes += u64::from(loss_probes);
        self.loss_probe_recoveries += u64::from(loss_probe_recoveries);
        self.sack_recoveries += u64::from(sack_recoveries);
        self.reno_recoveries += u64::from(reno_recoveries);
        self.undos += u64::from(undos);
        self.dsacks_received += u64::from(dsacks_received);
        self.out_of_order += u64::from(out_of_order);
        self.reorderings += u64::from(reorderings);
        self.window_probes += u64::from(window_probes);
        self.keepalives += u64::from(keepalives);
    }
}

/// Counts what leaves.
#[derive(Debug)]
pub(super) struct Counting<'a, T> {
    tx: &'a mut T,
    segments: u64,
    resets: u64,
}

impl<'a, T: Transmit> Counting<'a, T> {
    pub(super) const fn new(tx: &'a mut T) -> Self {
        Self {
            tx,
            segments: 0,
            resets: 0,
        }
    }

    pub(super) const fn finish(self, counters: &mut Counters) {
        counters.out_segs += self.segments;
        counters.out_rsts += self.resets;
    }
}

impl<T: Transmit> Transmit for Counting<'_, T> {
    #[inline]
    fn budget(&self) -> usize {
        self.tx.budget()
    }

    #[inline]
    fn path_mtu(&self, remote: IpAddr) -> u16 {
        self.tx.path_mtu(remote)
    }

    fn lower_path_mtu(&mut self, remote: IpAddr, mtu: u16) {
        self.tx.lower_path_mtu(remote, mtu);
    }

    fn on_negative_advice(&mut self, remote: IpAddr) {
        self.tx.on_negative_advice(remote);
    }

    #[inline]
    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        let segments = meta
            .gso_size
            .map_or(1, |size| meta.payload_len.div_ceil(u32::from(size.get())));
        self.segments += u64::from(segments);
        self.resets += u64::from(meta.segment.flags.contains(Flags::RST));
        self.tx.push(meta, payload);
    }
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
            active_opens, passive_opens, attempt_fails, estab_resets, in_segs, out_segs,
            out_rsts, retrans_segs, syn_retrans, timeouts, loss_probes, loss_probe_recoveries,
            sack_recoveries, reno_recoveries, undos, dsacks_received, out_of_order, reorderings, window_probes,
            keepalives, abort_on_timeout,
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

    /// A SYN or SYN,ACK leaves.
    pub(super) fn on_handshake_sent(&mut self, again: bool) {
        self.retrans_segs += u64::from(again);
        self.syn_retrans += u64::from(again);
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
