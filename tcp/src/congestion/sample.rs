//! What a connection tells its congestion controller: plain facts, never the connection.

use crate::time::{Duration, Instant};

/// What a controller starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setup {
    /// Payload of a full segment, in bytes.
    pub mss: u32,
    /// Congestion window to begin with, in bytes: the initial window, or what the connection has
    /// when its algorithm is changed.
    pub cwnd: u32,
    /// Slow-start threshold to begin with, in bytes; arbitrarily high on a new connection (CC-6).
    pub ssthresh: u32,
    /// Leave the initial slow start by delay, too (HyStart++, RFC 9406).
    pub hystart: bool,
    /// The device takes super-segments, so one ACK may answer for many segments.
    pub super_segments: bool,
    /// What is sent is paced, so L of HyStart++ is infinite (RFC 9406 §4.3).
    pub paced: bool,
    /// When the controller begins.
    pub now: Instant,
    /// Smoothed round trip, if one is known.
    pub srtt: Option<Duration>,
    /// Both ends use SACK, so that more than one loss shows in a round trip.
    pub sack: bool,
    /// A random number, for what is to differ from one connection to the next.
    pub seed: u64,
}

impl Setup {
    /// A new connection: `cwnd` bytes of `mss`-byte segments, slow start, HyStart++.
    pub const fn new(mss: u32, cwnd: u32) -> Self {
        let mss = if mss == 0 { 1 } else { mss };
        Self {
            mss,
            cwnd: if cwnd < mss { mss } else { cwnd },
            ssthresh: u32::MAX,
            hystart: true,
            super_segments: false,
            paced: false,
            now: Instant::ZERO,
            srtt: None,
            sack: true,
            seed: 0,
        }
    }
}

/// Data that left, new or again.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SentSample {
    /// When.
    pub now: Instant,
    /// Payload bytes.
    pub bytes: u32,
    /// Bytes in flight before it.
    pub in_flight: u32,
    /// There was a moment in the last round trip at which nothing was there to be sent, though
    /// window and rate would have allowed it (`C.app_limited`). Known only of connections that keep
    /// rate samples.
    pub app_limited: bool,
}

impl SentSample {
    /// `bytes` that left at `now` on top of `in_flight`.
    pub const fn new(now: Instant, bytes: u32, in_flight: u32) -> Self {
        Self {
            now,
            bytes,
            in_flight,
            app_limited: false,
        }
    }
}

/// An ACK that moved SND.UNA.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Bytes it newly acknowledged, cumulatively or by SACK.
    pub acked: u32,
    /// Bytes in flight before it.
    pub in_flight: u32,
    /// Most bytes that were in flight at once in the last round trip.
    pub window_used: u32,
    /// cwnd stopped the sender in the last round trip.
    pub cwnd_limited: bool,
    /// It begins a round: it answers what was sent after the last round began (RFC 9406 §4.2).
    pub round_start: bool,
    /// The round trip that this ACK measured.
    pub rtt: Option<Duration>,
    /// Smoothed round trip.
    pub srtt: Option<Duration>,
    /// Losses are being repaired: the window stands still.
    pub in_recovery: bool,
}

impl AckSample {
    /// An ACK at `now` for `acked` bytes that used the whole window.
    pub const fn new(now: Instant, acked: u32) -> Self {
        Self {
            now,
            acked,
            in_flight: 0,
            window_used: 0,
            cwnd_limited: true,
            round_start: false,
            rtt: None,
            srtt: None,
            in_recovery: false,
        }
    }
}

/// What congestion shows itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionKind {
    /// A loss that ACKs showed.
    Loss,
    /// The peer echoes a congestion mark (RFC 3168).
    Ecn,
    /// The retransmission timer.
    Timeout,
}

/// A congestion signal, at most one per round trip.
#[derive(Clone, Copy, Debug)]
pub struct CongestionEvent {
    /// When it was noticed.
    pub now: Instant,
    /// What showed it.
    pub kind: CongestionKind,
    /// What is to be reduced, in bytes: FlightSize (RFC 5681 §2), or what was lately acknowledged
    /// per round trip if that is more and the window is not in use (RFC 7661 §4.4.1).
    pub in_flight: u32,
}

/// What an ACK delivered and what it showed to be lost, with its delivery rate sample.
///
/// In brackets the names of BBR's draft (draft-ietf-ccwg-bbr §2, §4.1). "Data" counts whatever has
/// a sequence number, new or sent again.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeliverySample {
    /// When the ACK arrived.
    pub now: Instant,
    /// Bytes that it delivered, cumulatively or by SACK (`RS.newly_acked`); may be 0.
    pub newly_acked: u32,
    /// Bytes that it showed to be lost (`RS.newly_lost`).
    pub newly_lost: u32,
    /// Bytes delivered so far (`C.delivered`), this ACK's included.
    pub delivered: u64,
    /// Bytes judged lost so far (`C.lost`), by this ACK included.
    pub lost: u64,
    /// Bytes in flight before it.
    pub prior_in_flight: u32,
    /// Bytes in flight after it (`C.inflight`).
    pub in_flight: u32,
    /// The round trip that it measured (`RS.rtt`).
    pub rtt: Option<Duration>,
    /// Smoothed round trip (`C.srtt`).
    pub srtt: Option<Duration>,
    /// The sample of the newest transmission that it delivered; `None` if it delivered nothing.
    pub rate: Option<RateSample>,
    /// Bytes that it delivered, if it says that congestion was marked on the way (ECE), else 0.
    pub ecn_ce: u32,
    /// Losses are being repaired, after this ACK: fast recovery, or what follows a timeout.
    pub in_recovery: bool,
    /// Data filled cwnd at some time in the last round trip (`C.is_cwnd_limited`).
    pub cwnd_limited: bool,
    /// The sender ran out of data not long ago (`C.app_limited` is not 0).
    pub app_limited: bool,
}

impl DeliverySample {
    /// An ACK at `now` that delivered `newly_acked` bytes, of `delivered` so far, and measured
    /// nothing.
    pub const fn new(now: Instant, newly_acked: u32, delivered: u64) -> Self {
        Self {
            now,
            newly_acked,
            newly_lost: 0,
            delivered,
            lost: 0,
            prior_in_flight: newly_acked,
            in_flight: 0,
            rtt: None,
            srtt: None,
            rate: None,
            ecn_ce: 0,
            in_recovery: false,
            cwnd_limited: true,
            app_limited: false,
        }
    }
}

/// How fast data were delivered between the sending of a transmission and its ACK
/// (draft-ietf-ccwg-bbr §4.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateSample {
    /// Bytes per second (`RS.delivery_rate`); 0 where the interval is too short to be believed.
    pub delivery_rate: u64,
    /// Bytes delivered between the sending of the transmission and its ACK (`RS.delivered`).
    pub delivered: u64,
    /// Bytes delivered when it was sent (`RS.prior_delivered`): a round ends once this has reached
    /// what was delivered when the round began.
    pub prior_delivered: u64,
    /// The time that this took: of sending or of being acknowledged, the longer (`RS.interval`).
    pub interval: Duration,
    /// The sender had run out of data when it was sent, or less than a round trip before
    /// (`RS.is_app_limited`).
    pub is_app_limited: bool,
    /// Bytes in flight when it was sent, itself included (`RS.tx_in_flight`).
    pub tx_in_flight: u32,
    /// Bytes judged lost between its sending and its ACK (`RS.lost`).
    pub lost: u64,
}

impl RateSample {
    /// One that says nothing.
    pub const fn new() -> Self {
        Self {
            delivery_rate: 0,
            delivered: 0,
            prior_delivered: 0,
            interval: Duration::ZERO,
            is_app_limited: false,
            tx_in_flight: 0,
            lost: 0,
        }
    }
}

/// A transmission that was judged lost (`P` of BBR's HandleLostPacket).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LostSample {
    /// When it was judged so.
    pub now: Instant,
    /// Its bytes (`P.size`).
    pub bytes: u32,
    /// It lies right above what was told lost before it, at the same time.
    pub contiguous: bool,
    /// Bytes delivered so far (`C.delivered`); those of the ACK that shows the loss included.
    pub delivered: u64,
    /// Bytes in flight now (`C.inflight`), without all that was judged lost together with it.
    pub in_flight: u32,
    /// Bytes in flight when it was sent, itself included (`P.tx_in_flight`).
    pub tx_in_flight: u32,
    /// Bytes judged lost since it was sent, itself included (`C.lost − P.lost`).
    pub lost: u64,
    /// The sender had run out of data when it was sent, or less than a round trip before
    /// (`P.is_app_limited`).
    pub is_app_limited: bool,
}

impl LostSample {
    /// `bytes` of what was sent with `tx_in_flight` in flight, lost at `now` as the first since
    /// then.
    pub const fn new(now: Instant, bytes: u32, tx_in_flight: u32) -> Self {
        Self {
            now,
            bytes,
            contiguous: false,
            delivered: 0,
            in_flight: 0,
            tx_in_flight,
            lost: bytes as u64,
            is_app_limited: false,
        }
    }
}
