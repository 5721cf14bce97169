//! The MTU of the path as one connection sees it: what ICMP reports (RFC 1191, RFC 8201) and
//! when that is believed (RFC 5927 §7.2), what timeouts suggest, and what probes find out
//! (RFC 4821).
//!
//! ```text
//!     mtu               high        top
//!     ─┬─────────────────┬───────────┬──  bytes
//!      │ known to pass   │ may pass  │ what IP and the peer allow
//!                ↑ the next probe
//! ```

use core::cmp::Ordering;
use core::ops::Range;

use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

/// No larger packet is tried for so long after a report, or once the search has come to an end
/// (RFC 8201 §4, RFC 4821 §7.6: at least five minutes).
pub(crate) const RAISE_INTERVAL: Duration = Duration::from_secs(600);

/// The search ends when what it could still gain is less than this.
const MIN_GAIN: u16 = 8;

/// What a black hole is left by: 1024 bytes of payload (RFC 4821 §7.2).
const BASE_V4: u16 = 1064;

/// Reports of less are taken as this (PM-2).
const FLOOR_V4: u16 = 552;
/// The least that an IPv6 link may take (RFC 8200 §5).
const FLOOR_V6: u16 = 1280;

/// A report that waits for evidence.
#[derive(Clone, Copy, Debug)]
struct Report {
    /// The number of the packet that it quotes.
    seq: SeqNum,
    mtu: u16,
}

/// A segment that is larger than the path is known to take.
#[derive(Clone, Debug)]
struct Probe {
    range: Range<SeqNum>,
    mtu: u16,
}

/// The way back up.
#[derive(Clone, Debug, Default)]
struct Search {
    /// No probe leaves before.
    at: Option<Instant>,
    /// Nothing larger passes; 0 while no search is under way.
    high: u16,
    /// The next probe is as large as `high`; later ones lie half way.
    leap: bool,
    /// What would be the probe if it left now.
    next: Option<Probe>,
    /// On its way; there is one at a time.
    probe: Option<Probe>,
}

/// What a connection knows of its path's MTU.
#[derive(Clone, Debug)]
pub(crate) struct PathMtu {
    mtu: u16,
    ipv6: bool,
    /// Probes are allowed, and timeouts may lower the MTU.
    probing: bool,
    /// The largest packet that has arrived (maxsizeacked of RFC 5927 §7.2).
    acked: u16,
    /// A full-sized segment under way: where it ends, and the size of its packet.
    sample: Option<(SeqNum, u16)>,
    pending: Option<Report>,
    /// The MTU before the present stall, if that has lowered it.
    before: Option<u16>,
    /// IP has to hear of this one.
    owed: Option<u16>,
    search: Search,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingPath {
    at: Option<Instant>,
    pub(crate) mtu: u16,
    acked: u16,
    high: u16,
    leap: bool,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It says nothing new, or nothing that is believed yet.
    Nothing,
    /// The path takes less from now on.
    Lowered,
    /// As known; what is larger is lost, from the quoted packet on.
    Known,
    /// It was the probe, which took this range.
    ProbeFailed(Range<SeqNum>),
}

impl PathMtu {
    pub(crate) const fn new(mtu: u16, ipv6: bool, probing: bool) -> Self {
        Self {
            mtu,
            ipv6,
            probing,
            acked: 0,
            sample: None,
            pending: None,
            before: None,
            owed: None,
            search: Search {
                at: None,
                high: 0,
                leap: false,
                next: None,
                probe: None,
            },
        }
    }

    /// Whether nothing waits for an answer.
    pub(crate) const fn is_at_rest(&self) -> bool {
        self.sample.is_none()
            && self.pending.is_none()
            && self.before.is_none()
            && self.owed.is_none()
            && self.search.next.is_none()
            && self.search.probe.is_none()
    }

    pub(crate) const fn rest(&self) -> RestingPath {
        RestingPath {
            at: self.search.at,
            mtu: self.mtu,
            acked: self.acked,
            high: self.search.high,
            leap: self.search.leap,
        }
    }

    pub(crate) const fn woken(rest: &RestingPath, ipv6: bool, probing: bool) -> Self {
        let mut path = Self::new(rest.mtu, ipv6, probing);
        path.acked = rest.acked;
        (path.search.at, path.search.high, path.search.leap) = (rest.at, rest.high, rest.leap);
        path
    }

    /// The MTU that segments are cut to.
    pub(crate) const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether IP has to hear of something.
    pub(crate) const fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    /// What IP has to hear of: a report that is believed.
    pub(crate) const fn take_owed(&mut self) -> Option<u16> {
        self.owed.take()
    }

    /// A report about the packet with number `seq` (which the caller has found in flight).
    pub(crate) fn on_report(&mut self, now: Instant, seq: SeqNum, mtu: u16) -> Verdict {
        if self.ipv6 && mtu < FLOOR_V6 {
            return Verdict::Nothing;
        }
        let mtu = if self.ipv6 { mtu } else { mtu.max(FLOOR_V4) };
        let larger = mtu >= self.mtu;
        let quoted = |probe: &mut Probe| larger && probe.range.contains(&seq) && mtu < probe.mtu;
        if let Some(probe) = self.search.probe.take_if(quoted) {
            (self.search.high, self.search.leap) = (mtu, true);
            self.search.at = Some(now);
            return Verdict::ProbeFailed(probe.range);
        }
        match mtu.cmp(&self.mtu) {
            Ordering::Greater => return Verdict::Nothing,
            Ordering::Equal => return Verdict::Known,
            Ordering::Less => {}
        }
        if mtu < self.acked {
            // Such packets have arrived: it is forged, or the path has just changed (BL-9).
            self.pending = Some(Report { seq, mtu });
            return Verdict::Nothing;
        }
        self.owed = Some(mtu);
        self.lower(now, mtu, RAISE_INTERVAL);
        Verdict::Lowered
    }

    /// IP knows of less, by what another flow was told (PM-6). True if that is news.
    pub(crate) fn on_ip_mtu(&mut self, now: Instant, mtu: u16) -> bool {
        if mtu >= self.mtu {
            return false;
        }
        self.lower(now, mtu, RAISE_INTERVAL);
        true
    }

    /// The retransmission timer fired: a report that was held back is believed now. True when the
    /// MTU has changed.
    pub(crate) fn on_timeout(&mut self, now: Instant) -> bool {
        self.on_probe_unclear(now, Duration::ZERO);
        self.pending
            .take()
            .is_some_and(|report| self.believe(now, report))
    }

    /// Larger packets seem to vanish (RFC 4821 §7.7): back to the base. If that goes unanswered,
    /// too, their size is not the matter; later the floor has its try. Unless probes show better,
    /// what is answered holds for `pause`.
    pub(crate) fn on_black_hole(&mut self, now: Instant, strikes: u8, pause: Duration) -> bool {
        let floor = if self.ipv6 { FLOOR_V6 } else { FLOOR_V4 };
        let base = match strikes {
            0 => return false,
            1 | 2 => BASE_V4.max(floor),
            6 | 7 => floor,
            _ => return self.restore(),
        };
        if !self.probing || base >= self.mtu {
            return false;
        }
        let before = self.mtu;
        self.lower(now, base, pause);
        self.before = Some(before);
        true
    }

    fn restore(&mut self) -> bool {
        let Some(before) = self.before.take() else {
            return false;
        };
        self.mtu = before;
        self.search = Search::default();
        true
    }

    /// `lost` was found lost: what was reported about it is believed.
    pub(crate) fn on_loss(&mut self, now: Instant, lost: &Range<SeqNum>) -> bool {
        self.pending
            .take_if(|report| lost.contains(&report.seq))
            .is_some_and(|report| self.believe(now, report))
    }

    fn believe(&mut self, now: Instant, report: Report) -> bool {
        if report.mtu >= self.mtu {
            return false;
        }
        self.owed = Some(report.mtu);
        self.lower(now, report.mtu, RAISE_INTERVAL);
        true
    }

    fn lower(&mut self, now: Instant, mtu: u16, pause: Duration) {
        self.mtu = mtu;
        self.acked = self.acked.min(mtu);
        (self.sample, self.pending, self.before) = (None, None, None);
        self.search = Search {
            at: Some(now + pause),
            ..Search::default()
        };
    }

    /// A segment of a packet of `size` bytes left, full or a probe.
    pub(crate) fn on_sent(&mut self, range: &Range<SeqNum>, size: u16) {
        if let Some(next) = self.search.next.take()
            && next.range == *range
        {
            self.search.probe = Some(next);
        } else if self.sample.is_none() && size > self.acked {
            self.sample = Some((range.end, size));
        }
    }

    /// Everything below `una` has arrived. True when that was a probe, so that the MTU is higher.
    pub(crate) fn on_ack(&mut self, now: Instant, una: SeqNum) -> bool {
        if let Some((_, size)) = self.sample.take_if(|(end, _)| *end <= una) {
            self.acked = self.acked.max(size);
        }
        self.pending.take_if(|report| report.seq < una);
        self.before = None;
        let Some(probe) = self.search.probe.take_if(|probe| probe.range.end <= una) else {
            return false;
        };
        self.mtu = probe.mtu;
        self.acked = self.acked.max(probe.mtu);
        self.search.at = Some(now);
        self.search.leap = false;
        true
    }

    /// The packet that may be tried now, where IP and peer allow `top`: never two at a time, and
    /// none for ten minutes after the search has ended.
    pub(crate) fn candidate(&mut self, now: Instant, top: u16) -> Option<u16> {
        let search = &mut self.search;
        if search.probe.is_some() || self.mtu >= top {
            return None;
        }
        if *search.at.get_or_insert(now) > now {
            return None;
        }
        if search.high == 0 {
            (search.high, search.leap) = (top, true); // the path may be what it was
        }
        search.high = search.high.min(top);
        let gain = search.high.saturating_sub(self.mtu);
        if gain == 0 || gain < MIN_GAIN && !search.leap {
            *search = Search {
                at: Some(now + RAISE_INTERVAL),
                ..Search::default()
            };
            return None;
        }
        Some(if search.leap {
            search.high
        } else {
            self.mtu + gain.div_ceil(2)
        })
    }

    /// Without probes the MTU goes up on trust, when the time has come (RFC 8201 §5.3).
    pub(crate) fn raise(&mut self, now: Instant, top: u16) -> bool {
        let due = self.candidate(now, top).is_some();
        if due {
            self.mtu = top;
            self.search = Search::default();
        }
        due
    }

    /// If this range leaves next, it is a probe of `mtu` bytes.
    pub(crate) fn offer_probe(&mut self, range: Range<SeqNum>, mtu: u16) {
        self.search.next = Some(Probe { range, mtu });
    }

    /// What was offered before and did not leave is no probe any more.
    pub(crate) fn withdraw_offer(&mut self) {
        self.search.next = None;
    }

    /// Whether `range` is the probe to be sent, and so goes in one piece.
    pub(crate) fn is_next_probe(&self, range: &Range<SeqNum>) -> bool {
        self.search
            .next
            .as_ref()
            .is_some_and(|next| next.range == *range)
    }

    /// The range of the probe on its way.
    pub(crate) fn probe(&self) -> Option<Range<SeqNum>> {
        self.search.probe.as_ref().map(|probe| probe.range.clone())
    }

    /// The probe was lost, and nothing else: the next one leaves after a congestion epoch
    /// (RFC 4821 §7.3).
    pub(crate) fn on_probe_lost(&mut self, now: Instant, epoch: Duration) {
        if let Some(probe) = self.search.probe.take() {
            (self.search.high, self.search.leap) = (probe.mtu - 1, false);
            self.search.at = Some(now + epoch.min(RAISE_INTERVAL));
        }
    }

    /// The probe was lost among others: it says nothing.
    pub(crate) fn on_probe_unclear(&mut self, now: Instant, epoch: Duration) {
        if self.search.probe.take().is_some() {
            self.search.at = Some(now + epoch.min(RAISE_INTERVAL));
        }
    }

    /// Whether probes are sent and timeouts lower the MTU (`tcp_mtu_probing`).
    pub(crate) const fn is_probing(&self) -> bool {
        self.probing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a loopback device: what a report leaves is a few bytes below the largest packet.
    #[test]
    fn the_search_ends_at_the_largest_packet_there_is() {
        let (now, top) = (Instant::from_millis(1), u16::MAX);
        let mut path = PathMtu::new(top, false, true);
        let seq = SeqNum::first(crate::seq::WireSeq(7));
        assert_eq!(path.on_report(now, seq, top - 3), Verdict::Lowered);
        assert_eq!(path.candidate(now + RAISE_INTERVAL, top), Some(top));
        path.offer_probe(seq..seq + 1u32, top);
        path.on_sent(&(seq..seq + 1u32), top);
        path.on_probe_lost(now + RAISE_INTERVAL, Duration::ZERO);
        assert_eq!(path.candidate(now + RAISE_INTERVAL, top), None);
    }
}
