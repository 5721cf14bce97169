//! Counts of a connection, and [`Info`] made of them and of everything else.

use alloc::boxed::Box;
use core::num::NonZeroU64;

use crate::config::Config;
use crate::congestion::CongestionController;
use crate::info::{CaState, Info};
use crate::recovery::Phase;
use crate::segment::{Ecn, Flags, Segment};
use crate::send::{AckOutcome, RateSampler};
use crate::time::{Duration, Instant};

use super::Connection;
use super::header_overhead;

/// Counts that only [`Info`] needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    segs_in: u64,
    segs_out: u64,
    data_segs_in: u64,
    data_segs_out: u64,
    bytes_sent: u64,
    bytes_retrans: u64,
    delivered: u64,
    delivered_ce: u64,
    dsack_dups: u64,
    rcv_ooopack: u64,
    ecn_seen: bool,
    syn_data: bool,
    data_received_at: Option<Instant>,
    /// Something is unacknowledged since then; and how long that was so before.
    busy_since: Option<Instant>,
    busy: Duration,
    /// What has kept data from being sent since when.
    limited: Option<(Instant, Limit)>,
    /// SND.UNA has not moved since this timeout.
    rto_since: Option<Instant>,
    rare: Rare,
}

/// What has happened to few connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rare {
    reord_seen: u32,
    total_rto: u32,
    total_rto_recoveries: u32,
    rto_time: Duration,
    rwnd_limited: Duration,
    sndbuf_limited: Duration,
}

/// What keeps data from being sent that could leave otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The peer's window.
    PeerWindow,
    /// Our send buffer: the writer waits, and all it has written is on its way.
    SendBuffer,
}

/// Stats of a connection at rest, and what it counts itself.
#[derive(Debug)]
pub(super) struct RestingStats {
    counts: Counts,
    data_received_at: Option<Instant>,
    /// In nanoseconds.
    busy: u64,
}

/// Counts, of which most stay small.
#[derive(Debug)]
enum Counts {
    Small([u32; 13], Seen),
    Large(Box<([u64; 13], Seen, Rare)>),
}

/// What has happened at least once.
#[derive(Clone, Copy, Debug)]
struct Seen {
    ecn: bool,
    syn_data: bool,
}

impl Rare {
    const fn limited_mut(&mut self, by: Limit) -> &mut Duration {
        match by {
            Limit::PeerWindow => &mut self.rwnd_limited,
            Limit::SendBuffer => &mut self.sndbuf_limited,
        }
    }
}

impl RestingStats {
    /// What the connection counts itself.
    pub(super) fn totals(&self) -> [u64; 3] {
        let ([.., received, acked, again], ..) = self.counts();
        [received, acked, again]
    }

    pub(super) fn wake(&self) -> ([u64; 3], Stats) {
        let (counts, seen, rare) = self.counts();
        let [
            segs_in,
            segs_out,
            data_segs_in,
            data_segs_out,
            bytes_sent,
            bytes_retrans,
            delivered,
            delivered_ce,
            dsack_dups,
            rcv_ooopack,
            totals @ ..,
        ] = counts;
        let stats = Stats {
            segs_in,
            segs_out,
            data_segs_in,
            data_segs_out,
            bytes_sent,
            bytes_retrans,
            delivered,
            delivered_ce,
            dsack_dups,
            rcv_ooopack,
            ecn_seen: seen.ecn,
            syn_data: seen.syn_data,
            data_received_at: self.data_received_at,
            busy_since: None,
            busy: Duration::from_nanos(self.busy),
            limited: None,
            rto_since: None,
            rare,
        };
        (totals, stats)
    }

    fn counts(&self) -> ([u64; 13], Seen, Rare) {
        match &self.counts {
            Counts::Small(counts, seen) => (counts.map(u64::from), *seen, Rare::default()),
            Counts::Large(counts) => **counts,
        }
    }
}

impl Stats {
    /// Whether everything is acknowledged.
    pub(super) const fn is_at_rest(&self) -> bool {
        self.busy_since.is_none() && self.limited.is_none() && self.rto_since.is_none()
    }

    /// Together with the `totals` of the connection itself.
    pub(super) fn rest(&self, totals: [u64; 3]) -> RestingStats {
        let [received, acked, again] = totals;
        let counts = [
            self.segs_in,
            self.segs_out,
            self.data_segs_in,
            self.data_segs_out,
            self.bytes_sent,
            self.bytes_retrans,
            self.delivered,
            self.delivered_ce,
            self.dsack_dups,
            self.rcv_ooopack,
            received,
            acked,
            again,
        ];
        let seen = Seen {
            ecn: self.ecn_seen,
            syn_data: self.syn_data,
        };
        let is_small =
            counts.iter().all(|&count| count <= u32::MAX.into()) && self.rare == Rare::default();
        RestingStats {
            counts: if is_small {
                Counts::Small(counts.map(|count| count as u32), seen)
            } else {
                Counts::Large(Box::new((counts, seen, self.rare)))
            },
            data_received_at: self.data_received_at,
            busy: u64::try_from(self.busy.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn new(syn_data: bool) -> Self {
        Self {
            syn_data,
            ..Self::default()
        }
    }

    /// A segment arrived, whatever becomes of it.
    pub(super) fn on_received(&mut self, now: Instant, ecn: Ecn, seg: &Segment) {
        let segments = u64::from(seg.wire_segments());
        self.segs_in += segments;
        self.ecn_seen |= ecn != Ecn::NotEct;
        if !seg.payload.is_empty() {
            self.data_segs_in += segments;
            self.data_received_at = Some(now);
        }
    }

    /// As [`Self::on_received`] for each of so many segments with text.
    pub(super) fn on_train_received(&mut self, now: Instant, ecn: Ecn, segments: u64) {
        self.segs_in += segments;
        self.data_segs_in += segments;
        self.ecn_seen |= ecn != Ecn::NotEct;
        self.data_received_at = Some(now);
    }

    /// Its text lay above a gap.
    pub(super) fn on_out_of_order(&mut self, seg: &Segment) {
        self.rcv_ooopack += u64::from(seg.wire_segments());
    }

    /// `bytes` leave as segments of at most `mss`; 0: one without text.
    pub(super) fn on_sent(&mut self, bytes: u32, mss: u32, again: bool) {
        let segments = u64::from(bytes.div_ceil(mss.max(1)).max(1));
        self.segs_out += segments;
        if bytes > 0 {
            self.data_segs_out += segments;
            self.bytes_sent += u64::from(bytes);
        }
        if again {
            self.bytes_retrans += u64::from(bytes);
        }
    }

    /// Whether something is unacknowledged at `now`.
    pub(super) fn on_busy(&mut self, now: Instant, busy: bool) {
        if busy {
            self.busy_since.get_or_insert(now);
        } else if let Some(since) = self.busy_since.take() {
            self.busy += now - since;
        }
    }

    /// What keeps data from being sent from now on, if anything does.
    pub(super) fn on_limited(&mut self, now: Instant, by: Option<Limit>) {
        if self.limited.map(|(_, before)| before) == by {
            return;
        }
        if let Some((since, before)) = self.limited.take() {
            *self.rare.limited_mut(before) += now - since;
        }
        self.limited = by.map(|by| (now, by));
    }

    /// Whether data waits for the peer's window.
    pub(super) const fn awaits_window(&self) -> bool {
        matches!(self.limited, Some((_, Limit::PeerWindow)))
    }

    /// The retransmission timer fired, for the first time since SND.UNA moved or again.
    pub(super) fn on_rto(&mut self, now: Instant) {
        self.rare.total_rto += 1;
        if self.rto_since.is_none() {
            self.rare.total_rto_recoveries += 1;
            self.rto_since = Some(now);
        }
    }

    /// SND.UNA moved.
    pub(super) fn on_progress(&mut self, now: Instant) {
        if let Some(since) = self.rto_since.take() {
            self.rare.rto_time += now - since;
        }
    }

    /// Something was delivered out of order.
    pub(super) const fn on_reordering(&mut self) {
        self.rare.reord_seen += 1;
    }

    /// What an ACK and its SACK blocks say.
    pub(super) fn on_delivered(&mut self, outcome: &AckOutcome, mss: u32, seg: &Segment) {
        let segments = u64::from(outcome.delivered.div_ceil(mss.max(1)));
        self.delivered += segments;
        if seg.has(Flags::ECE) {
            self.delivered_ce += segments;
        }
        self.dsack_dups += u64::from(outcome.dsack.is_some());
    }

    fn info(&self, now: Instant) -> Info {
        let mut rare = self.rare;
        if let Some((since, by)) = self.limited {
            *rare.limited_mut(by) += now - since;
        }
        let in_rto = self.rto_since.map_or(Duration::ZERO, |since| now - since);
        Info {
            reord_seen: rare.reord_seen,
            total_rto: rare.total_rto,
            total_rto_recoveries: rare.total_rto_recoveries,
            total_rto_time: rare.rto_time + in_rto,
            rwnd_limited: rare.rwnd_limited,
            sndbuf_limited: rare.sndbuf_limited,
            ecn_seen: self.ecn_seen,
            syn_data: self.syn_data,
            busy_time: self.busy + self.busy_since.map_or(Duration::ZERO, |since| now - since),
            last_data_recv: self.data_received_at.map(|at| now - at),
            segs_in: self.segs_in,
            segs_out: self.segs_out,
            data_segs_in: self.data_segs_in,
            data_segs_out: self.data_segs_out,
            bytes_sent: self.bytes_sent,
            bytes_retrans: self.bytes_retrans,
            delivered: self.delivered,
            delivered_ce: self.delivered_ce,
            dsack_dups: self.dsack_dups,
            rcv_ooopack: self.rcv_ooopack,
            ..Info::default()
        }
    }
}

impl Connection {
    /// The data of a SYN was taken (RFC 7413), ours or the peer's.
    pub(crate) const fn note_syn_data(&mut self, taken: bool) {
        self.stats.syn_data |= taken;
    }

    /// What `TCP_INFO` tells.
    pub(crate) fn info(&self, now: Instant, config: &Config) -> Info {
        let mss = self.snd.mss.max(1);
        let segments = |bytes: u32| bytes.div_ceil(mss);
        let (snd, rcv, flight, stats) = (&self.snd, &self.rcv, &self.snd.flight, &self.stats);
        let rate = flight.sampler().map(RateSampler::last);
        let offered = config
            .mtu
            .saturating_sub(header_overhead(self.flow.remote_ip()));
        Info {
            state: Some(self.state),
            ca_state: self.ca_state(),
            retransmits: self.timers.retransmits,
            probes: self.timers.persist_backoff.max(self.keepalive_probes),
            backoff: self.rtt.backoff_count().max(self.timers.persist_backoff),
            timestamps: self.timestamps.is_some(),
            sack: self.sack,
            ecn: self.ecn.is_enabled(),
            window_scale: (snd.scale.shift(), rcv.window.scale().shift()),
            rto: self.rtt.backed_off_rto(),
            ato: super::ack::DELAY,
            snd_mss: snd.mss,
            rcv_mss: self.acks.full_size(),
            advmss: self.options.clamp_mss(offered).into(),
            unacked: segments(flight.outstanding()),
            sacked: segments(flight.sacked() + flight.dup_acked()),
            lost: segments(flight.lost() + flight.resent()),
            retrans: segments(flight.resent() + flight.twice()),
            reordering: self.recovery.reordering(),
            last_data_sent: snd.last_sent.map(|at| now - at),
            last_ack_recv: now - self.last_received,
            pmtu: self.path.mtu(),
            rtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min_rtt(),
            snd_ssthresh: Some(self.cc.ssthresh()).filter(|&bytes| bytes < u32::MAX / 2),
            snd_cwnd: self.cwnd(),
            snd_wnd: snd.wnd,
            rcv_wnd: rcv.right() - rcv.nxt(),
            rcv_ssthresh: rcv.window.buffer(),
            rcv_rtt: self.tuning.rtt(),
            rcv_space: self.tuning.space(),
            total_retrans: self.total_retrans,
            bytes_acked: self.bytes_acked,
            bytes_received: self.bytes_received,
            pacing_rate: self.pacing_rate(),
            max_pacing_rate: self.options.max_pacing_rate.map(NonZeroU64::get),
            delivery_rate: rate.map(|rate| rate.delivery_rate),
            delivery_rate_app_limited: rate.is_some_and(|rate| rate.is_app_limited),
            notsent_bytes: snd.unsent(),
            ..stats.info(now)
        }
    }

    fn ca_state(&self) -> CaState {
        let flight = &self.snd.flight;
        match self.recovery.phase() {
            Phase::Loss(_) => CaState::Loss,
            Phase::Recovery(_) => CaState::Recovery,
            Phase::Open if self.ecn.is_reducing(self.snd.una) => CaState::Cwr,
            Phase::Open if flight.sacked() + flight.dup_acked() > 0 => CaState::Disorder,
            Phase::Open => CaState::Open,
        }
    }
}
