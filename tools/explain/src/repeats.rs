//! What is sent again, why its sender did so, and whether that was needed.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::flight::Sent;
use crate::moment::{Moment, seconds};

/// Episodes kept; more are only counted.
const MAX_EPISODES: usize = 256;
/// Retransmissions for which a proof that they were needless may yet come.
const MAX_RECENT: usize = 256;

/// What made a sender repeat a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// SACK blocks or duplicate acknowledgments told of a hole (RFC 5681 §3.2, RFC 6675, RFC 8985).
    Signal,
    /// The retransmission timer ran out (RFC 6298).
    Timeout,
    /// The end of what was sent, to ask for an acknowledgment (RFC 8985 §7).
    Probe,
    /// Acknowledgments came again after a timeout, and the rest is gone through.
    AfterTimeout,
    /// An ICMP error said that it was too big (RFC 1191, RFC 8201).
    TooBig,
}

/// What proves that a retransmission was needless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The receiver says that it got the range twice (RFC 2883).
    DuplicateSack,
    /// The acknowledgment echoes the time of the first transmission (RFC 3522).
    Timestamp,
    /// The acknowledgment of the range had passed already.
    Acknowledged,
}

/// From the first retransmission until all that was sent before it is acknowledged.
#[derive(Clone, Debug, Serialize)]
pub struct Episode {
    /// The first retransmission.
    pub began: Moment,
    /// The acknowledgment of everything; none came by the end.
    pub ended: Option<Moment>,
    /// First and last position of the first range repeated, and when it had been sent before.
    pub range: (u64, u64),
    /// The transmission before the first repetition.
    pub sent: Moment,
    /// How long the sender waited for it.
    #[serde(serialize_with = "seconds")]
    pub waited: Duration,
    /// Why the first one was repeated.
    pub cause: Cause,
    /// When SACK or duplicate acknowledgments first told of the hole.
    pub signal: Option<Moment>,
    /// Segments repeated for each cause.
    pub signals: u32,
    /// See [`Cause::Timeout`].
    pub timeouts: u32,
    /// See [`Cause::Probe`].
    pub probes: u32,
    /// See [`Cause::AfterTimeout`].
    pub after_timeout: u32,
    /// See [`Cause::TooBig`].
    pub too_big: u32,
    /// Bytes repeated.
    pub bytes: u64,
    /// Repetitions of what had been repeated already.
    pub again: u32,
    /// Repetitions by timeout, by signal, and others, that were needless.
    pub needless: [u32; 3],
    /// The first proof of that.
    pub proof: Option<(Proof, Moment)>,
    /// The first retransmission that was needless.
    pub needless_packet: Option<usize>,
    /// All that was sent by then, as a position.
    #[serde(skip)]
    recover: u64,
}

impl Episode {
    /// Segments repeated in all.
    pub fn segments(&self) -> u32 {
        self.signals + self.timeouts + self.probes + self.after_timeout + self.too_big
    }

    /// Repetitions that were proven to be needless.
    pub fn needless(&self) -> u32 {
        self.needless.iter().sum()
    }
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    start: u64,
    end: u64,
    at: Moment,
    tsval: Option<u32>,
    cause: Cause,
    episode: usize,
    /// It was the first range outstanding: the next acknowledgment is about it.
    is_first: bool,
    proven: bool,
}

/// A segment that comes again, with what is known about why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) now: Moment,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) before: Sent,
    pub(crate) cause: Cause,
    pub(crate) tsval: Option<u32>,
    /// What is acknowledged, and what was sent in all.
    pub(crate) una: u64,
    pub(crate) nxt: u64,
}

/// Retransmissions of one end.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    pub(crate) episodes: Vec<Episode>,
    /// Episodes that there was no room for.
    pub(crate) uncounted: usize,
    open: Option<usize>,
    recent: VecDeque<Recent>,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    /// Repetitions of what was seen acknowledged, since anything new was sent; the first and
    /// the last of them.
    pub(crate) unheard: u32,
    pub(crate) unheard_since: Option<Moment>,
    pub(crate) unheard_last: Option<Moment>,
    /// Ranges received twice that nobody was seen to repeat.
    pub(crate) doubled: u32,
}

impl Repeats {
    /// The episode that is not over.
    pub(crate) fn current(&self) -> Option<&Episode> {
        self.open.and_then(|index| self.episodes.get(index))
    }

    pub(crate) fn on_new(&mut self) {
        self.unheard = 0;
    }

    pub(crate) fn on_again(&mut self, again: &Again) {
        self.segments += 1;
        self.bytes += again.end - again.start;
        let was_acknowledged = again.end <= again.una;
        if was_acknowledged && matches!(again.cause, Cause::Timeout | Cause::Probe) {
            if self.unheard == 0 {
                self.unheard_since = Some(again.now);
            }
            self.unheard += 1;
            self.unheard_last = Some(again.now);
        }
        let Some(index) = self.open_episode(again) else {
            return;
        };
        let episode = &mut self.episodes[index];
        let count = match again.cause {
            Cause::Signal => &mut episode.signals,
            Cause::Timeout => &mut episode.timeouts,
            Cause::Probe => &mut episode.probes,
            Cause::AfterTimeout => &mut episode.after_timeout,
            Cause::TooBig => &mut episode.too_big,
        };
        *count += 1;
        episode.bytes += again.end - again.start;
        episode.again += u32::from(again.before.times > 1);
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            start: again.start,
            end: again.end,
            at: again.now,
            tsval: again.tsval,
            cause: again.cause,
            episode: index,
            is_first: again.start <= again.una,
            proven: false,
        });
        if was_acknowledged || again.before.sacked {
            let last = self.recent.len() - 1;
            self.prove(last, Proof::Acknowledged, again.now);
        }
    }

    fn open_episode(&mut self, again: &Again) -> Option<usize> {
        if self.open.is_some() {
            return self.open;
        }
        if self.episodes.len() == MAX_EPISODES {
            self.uncounted += 1;
            return None;
        }
        self.episodes.push(Episode {
            began: again.now,
            ended: None,
            range: (again.start, again.end),
            sent: again.before.last,
            waited: again.now.since(again.before.last),
            cause: again.cause,
            signal: again.before.signal,
            signals: 0,
            timeouts: 0,
            probes: 0,
            after_timeout: 0,
            too_big: 0,
            bytes: 0,
            again: 0,
            needless: [0; 3],
            proof: None,
            needless_packet: None,
            recover: again.nxt,
        });
        self.open = Some(self.episodes.len() - 1);
        self.open
    }

    /// Everything below `ack` has arrived; `echo`: the time that the acknowledgment echoes.
    pub(crate) fn on_ack(&mut self, now: Moment, ack: u64, advances: bool, echo: Option<u32>) {
        if advances && let Some(echo) = echo {
            let older = |one: &Recent| {
                let said = one
                    .tsval
                    .is_some_and(|tsval| (tsval.wrapping_sub(echo) as i32) > 0);
                one.is_first && !one.proven && one.start < ack && said
            };
            if let Some(index) = self.recent.iter().position(older) {
                self.prove(index, Proof::Timestamp, now);
            }
        }
        if advances {
            for one in self.recent.iter_mut().filter(|one| one.start < ack) {
                one.is_first = false;
            }
        }
        if let Some(index) = self.open
            && ack >= self.episodes[index].recover
        {
            // An acknowledgment that was there before ends nothing.
            let unheard = self.unheard > 0 && !advances;
            if !unheard {
                self.episodes[index].ended = Some(now);
                self.open = None;
            }
        }
    }

    /// `left..right` has arrived twice.
    pub(crate) fn on_duplicate(&mut self, now: Moment, left: u64, right: u64) {
        let same = |one: &Recent| !one.proven && one.start < right && left < one.end;
        match self.recent.iter().position(same) {
            Some(index) => self.prove(index, Proof::DuplicateSack, now),
            None if !self
                .recent
                .iter()
                .any(|one| one.start < right && left < one.end) =>
            {
                self.doubled += 1;
            }
            None => {}
        }
    }

    fn prove(&mut self, index: usize, proof: Proof, now: Moment) {
        let one = &mut self.recent[index];
        one.proven = true;
        let episode = &mut self.episodes[one.episode];
        let kind = match one.cause {
            Cause::Timeout => 0,
            Cause::Signal => 1,
            Cause::Probe | Cause::AfterTimeout | Cause::TooBig => 2,
        };
        episode.needless[kind] += 1;
        episode.proof.get_or_insert((proof, now));
        episode.needless_packet.get_or_insert(one.at.packet);
    }
}
