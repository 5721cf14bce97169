//! When an ACK is owed. Input owes, `poll_transmit` pays: a batch of segments costs one ACK, and
//! data can carry it (MUST-58).

use arrayvec::ArrayVec;

use crate::config::Config;
use crate::observe::{AckWhy, Why};
use crate::outlet::Outlet;
use crate::recv::MAX_UNREPORTED;
use crate::segment::Flags;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant, Span};

use super::Connection;

/// How long an ACK waits for company (SHLD-18: below 500 ms; Linux's least, too).
pub(super) const DELAY: Duration = Duration::from_millis(40);

/// Duplicate ACKs of one turn that are sent one by one, beyond the first: a peer without SACK
/// counts its way through recovery by them (RFC 5681 §3.2); one with SACK is told all by the last,
/// but some such stacks wait for three all the same.
const MAX_DUPLICATES: u8 = 8;
const MAX_DUPLICATES_WITH_SACK: u8 = 2;

/// Ranges above a gap that each ACK of a turn reports first; its other blocks repeat older ones,
/// as ACKs are lost, too (RFC 2018 §4).
const RANGES_PER_ACK: usize = 2;

/// ACKs of one turn beyond the last that report ranges: half of what a turn of 32 frames can bring.
const MAX_REPORTS: usize = 15;

const _: () = assert!(MAX_REPORTS * RANGES_PER_ACK < MAX_UNREPORTED);

/// The time in which a connection sends [`Config::challenge_ack_limit`] challenge ACKs at most
/// (RFC 5961 §7, BL-6).
const CHALLENGE_PERIOD: Duration = Duration::from_secs(5);

/// ACKs of segments outside the window that carry no data come no faster (a storm of two
/// confused stacks dies here).
pub(crate) const OUT_OF_WINDOW_PERIOD: Duration = Duration::from_millis(500);

/// The ACKs that a connection owes.
#[derive(Debug)]
pub(crate) struct Acks {
    /// RCV.NXT of the last ACK sent (Last.ACK.sent, RFC 7323 §4.3).
    last_sent: SeqNum,
    /// Bytes that arrived in order since then.
    bytes: u32,
    /// Pay at the end of this turn, for this reason: the last there was.
    now: Option<AckWhy>,
    /// Pay by then.
    deadline: Option<Instant>,
    /// Duplicates owed beyond the first.
    duplicates: u8,
    /// The largest wire segment seen: what "full-sized" means for this peer.
    full_size: u32,
    /// ACKs of data that are still to leave at once, while the peer's window is young.
    quick: u8,
    /// When data arrived last.
    data_at: Option<Instant>,
    challenge_limit: u16,
    challenges: u16,
    challenges_since: Option<Instant>,
    out_of_window_at: Option<Instant>,
}

/// What lasts of it while nothing is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingAcks {
    full_size: u16,
    quick: u8,
}

impl Acks {
    /// Whether nothing is owed.
    pub(super) const fn is_at_rest(&self) -> bool {
        !self.is_owed() && self.bytes == 0 && self.duplicates == 0
    }

    /// When data that has come, and the budgets of attacks, are forgotten: `None`, they are. Data
    /// that may yet be [answered](Self::on_answer) is kept in mind as long as that changes anything.
    pub(super) fn rest_at(&self, silence: Span) -> Option<Instant> {
        let least = if self.quick > 0 {
            const { Span::of(DELAY) }
        } else {
            silence
        };
        let data = self.data_at.map(|at| at + silence.max(least));
        let challenges = self.challenges_since.map(|at| at + CHALLENGE_PERIOD);
        let answers = self.out_of_window_at.map(|at| at + OUT_OF_WINDOW_PERIOD);
        Instant::latest([data, challenges, answers])
    }

    pub(super) fn rest(&self) -> RestingAcks {
        RestingAcks {
            full_size: u16::try_from(self.full_size).unwrap_or(u16::MAX),
            quick: self.quick,
        }
    }

    pub(super) fn woken(last_sent: SeqNum, rest: RestingAcks, config: &Config) -> Self {
        Self {
            quick: rest.quick,
            full_size: rest.full_size.into(),
            ..Self::new(last_sent, 0, config)
        }
    }

    pub(crate) const fn new(last_sent: SeqNum, mss: u32, config: &Config) -> Self {
        Self {
            last_sent,
            bytes: 0,
            now: None,
            deadline: None,
            duplicates: 0,
            full_size: if mss < 536 { mss } else { 536 },
            quick: config.quick_acks,
            data_at: None,
            challenge_limit: config.challenge_ack_limit,
            challenges: 0,
            challenges_since: None,
            out_of_window_at: None,
        }
    }

    /// RCV.NXT of the last ACK sent.
    pub(crate) const fn last_sent(&self) -> SeqNum {
        self.last_sent
    }

    /// The largest wire segment seen.
    pub(crate) const fn full_size(&self) -> u32 {
        self.full_size
    }

    /// When a delayed ACK falls due.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether an ACK is to leave at the end of this turn.
    pub(crate) const fn is_due(&self) -> bool {
        self.now.is_some()
    }

    /// Why.
    pub(crate) fn why(&self) -> AckWhy {
        self.now.unwrap_or(AckWhy::Report)
    }

    /// Bytes that arrived in order and are not acknowledged yet.
    pub(crate) const fn unacknowledged(&self) -> u32 {
        self.bytes
    }

    /// `bytes` arrived in order, in wire segments of `segment` bytes: every second full-sized
    /// one is acknowledged at once (SHLD-19), the rest within [`DELAY`].
    pub(crate) fn on_data(&mut self, now: Instant, bytes: u32, segment: u32) {
        self.on_segment_size(segment);
        self.bytes += bytes;
        self.data_at = Some(now);
        if self.bytes >= 2 * self.full_size || self.quick > 0 {
            self.now = Some(AckWhy::Data);
        } else if self.deadline.is_none() {
            self.deadline = Some(now + DELAY);
        }
    }

    /// A wire segment of `segment` bytes has come, in order or not.
    pub(crate) const fn on_segment_size(&mut self, segment: u32) {
        if segment > self.full_size {
            self.full_size = segment;
        }
    }

    /// Data of ours answers data of the peer's, and will carry the ACKs of such a conversation; so
    /// does what carries an ACK that is due, if the peer has `taken` data before.
    pub(crate) fn on_answer(&mut self, now: Instant, taken: bool) {
        if self.is_due() && taken || self.data_at.is_some_and(|at| now - at < DELAY) {
            self.quick = 0;
        }
    }

    /// Whether something is owed, now or later.
    pub(crate) const fn is_owed(&self) -> bool {
        self.is_due() || self.deadline.is_some()
    }

    /// An ACK is owed at once.
    pub(crate) const fn owe(&mut self, why: AckWhy) {
        self.now = Some(why);
    }

    /// A duplicate ACK is owed at once, and the peer must be able to count to three.
    pub(crate) fn owe_duplicate(&mut self, sack: bool) {
        if self.is_due() {
            let most = if sack {
                MAX_DUPLICATES_WITH_SACK
            } else {
                MAX_DUPLICATES
            };
            self.duplicates = (self.duplicates + 1).min(most);
        }
        self.now = Some(AckWhy::OutOfOrder);
    }

    /// Owes a challenge ACK if the budget of this connection allows (RFC 5961 §7).
    pub(crate) fn owe_challenge(&mut self, now: Instant) {
        if self
            .challenges_since
            .is_none_or(|since| now - since >= CHALLENGE_PERIOD)
        {
            (self.challenges_since, self.challenges) = (Some(now), 0);
        }
        if self.challenges < self.challenge_limit {
            self.challenges += 1;
            self.now = Some(AckWhy::Challenge);
        }
    }

    /// Owes an ACK for a segment outside the window that carries no data.
    pub(crate) fn owe_out_of_window(&mut self, now: Instant) {
        if self
            .out_of_window_at
            .is_none_or(|at| now - at >= OUT_OF_WINDOW_PERIOD)
        {
            self.out_of_window_at = Some(now);
            self.now = Some(AckWhy::OutOfWindow);
        }
    }

    /// The delayed ACK's time has come.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.now = Some(AckWhy::Delayed);
        }
    }

    /// A segment that acknowledges `nxt` leaves.
    pub(crate) fn on_sent(&mut self, nxt: SeqNum) {
        self.last_sent = nxt;
        self.quick = self.quick.saturating_sub((self.bytes > 0) as u8);
        self.bytes = 0;
        self.deadline = None;
        self.now = None;
    }

    /// Duplicates still to be sent, which this takes.
    pub(crate) const fn take_duplicates(&mut self) -> u8 {
        core::mem::replace(&mut self.duplicates, 0)
    }
}

impl Connection {
    /// The ACKs of one turn, but for the last. Data would carry them, but not count as duplicates;
    /// and one ACK alone has not the room to tell of many new ranges: the oldest come first.
    #[inline]
    pub(super) fn send_duplicates(&mut self, now: Instant, tx: &mut impl Outlet) {
        let reassembler = &self.rcv.reassembler;
        let takes_more = reassembler.range_count() as usize > RANGES_PER_ACK;
        let has_news = takes_more && self.sack && reassembler.has_news();
        if self.acks.duplicates != 0 || has_news {
            self.send_all_duplicates(now, has_news, tx);
        }
    }

    fn send_all_duplicates(&mut self, now: Instant, has_news: bool, tx: &mut impl Outlet) {
        let counted = usize::from(self.acks.take_duplicates());
        let news = if has_news {
            self.rcv.reassembler.unreported()
        } else {
            ArrayVec::new()
        };
        let told = news.len().saturating_sub(1) / RANGES_PER_ACK;
        let told = told.min(MAX_REPORTS);
        let count = told.max(counted).min(tx.budget().saturating_sub(1));
        for left in (1..=count).rev() {
            let newer = news.get(left * RANGES_PER_ACK - 1).filter(|_| left <= told);
            self.rcv.reassembler.report_before(newer.copied());
            let why = if left <= told {
                AckWhy::Report
            } else {
                AckWhy::OutOfOrder
            };
            self.send_control(now, Flags::ACK, self.snd.nxt, Why::Ack(why), tx);
            self.acks.owe(AckWhy::OutOfOrder);
        }
        self.rcv.reassembler.report_before(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::WireSeq;

    fn acks() -> Acks {
        Acks::new(SeqNum::first(WireSeq(0)), 1460, &Config::default())
    }

    /// SHLD-18, SHLD-19.
    #[test]
    fn every_second_full_segment_is_acknowledged_at_once() {
        let (mut acks, now) = (acks(), Instant::from_millis(1));
        acks.on_data(now, 1460, 1460);
        assert!(!acks.is_due());
        assert_eq!(acks.deadline(), Some(now + DELAY));
        acks.on_data(now, 1460, 1460);
        assert!(acks.is_due());
        acks.on_sent(acks.last_sent() + 2920u32);
        assert!(!acks.is_due() && acks.deadline().is_none());
    }

    #[test]
    fn a_lone_segment_is_acknowledged_in_time() {
        let (mut acks, now) = (acks(), Instant::from_millis(1));
        acks.on_data(now, 10, 10);
        acks.on_timeout(now + DELAY / 2);
        assert!(!acks.is_due());
        acks.on_timeout(now + DELAY);
        assert!(acks.is_due());
    }

    /// BL-6.
    #[test]
    fn challenges_have_a_budget() {
        let mut acks = acks();
        let mut sent = 0;
        for ms in 0..10_000 {
            acks.owe_challenge(Instant::from_millis(ms));
            sent += u32::from(acks.is_due());
            acks.on_sent(acks.last_sent());
        }
        assert_eq!(sent, 20);
    }

    #[test]
    fn a_turn_of_duplicates_can_be_counted() {
        for (sack, extra) in [(false, 8), (true, 2)] {
            let mut acks = acks();
            (0..20).for_each(|_| acks.owe_duplicate(sack));
            assert_eq!(acks.take_duplicates(), extra);
            assert!(acks.is_due());
        }
    }
}
