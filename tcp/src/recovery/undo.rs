//! Whether an alarm was false: by timestamps (Eifel, RFC 3522), by D-SACK (RFC 3708), and after a
//! timeout by what is acknowledged next (F-RTO, RFC 5682).

use alloc::vec::Vec;
use core::ops::Range;

use crate::seq::SeqNum;
use crate::time::Instant;

use super::Ack;

/// Retransmitted ranges that are remembered; a repair of more is taken for needed.
const MAX_RANGES: usize = 32;

/// What began an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An ACK, or the reordering timer.
    Loss,
    /// The retransmission timer.
    Timeout,
}

/// What an episode has sent again and nobody has shown to be needless yet. It outlives the
/// episode: the D-SACKs come late.
#[derive(Debug)]
pub(crate) struct Undo {
    cause: Cause,
    /// SND.UNA and SND.NXT when the episode began.
    span: Range<SeqNum>,
    ranges: Vec<Range<SeqNum>>,
    /// When the first of them left.
    first_sent: Option<Instant>,
    /// Something was sent more than twice, so that one D-SACK proves nothing (RFC 3708 §2).
    repeated: bool,
    /// Something is known to have been lost.
    needed: bool,
}

impl Undo {
    /// An episode over `span` begins.
    pub(crate) const fn new(cause: Cause, span: Range<SeqNum>) -> Self {
        Self {
            cause,
            span,
            ranges: Vec::new(),
            first_sent: None,
            repeated: false,
            needed: false,
        }
    }

    /// The episode repairs a real loss.
    pub(crate) fn rule_out(&mut self) {
        self.needed = true;
        self.ranges = Vec::new();
    }

    /// `range` was sent again.
    pub(crate) fn on_retransmit(&mut self, now: Instant, range: &Range<SeqNum>) {
        if self.needed {
            return;
        }
        self.first_sent.get_or_insert(now);
        let again = |old: &Range<SeqNum>| old.start < range.end && range.start < old.end;
        if self.ranges.iter().any(again) {
            match self.cause {
                Cause::Loss => self.rule_out(), // the first repair was lost
                Cause::Timeout => self.repeated = true,
            }
            return;
        }
        if let Some(last) = self.ranges.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
        } else if self.ranges.len() < MAX_RANGES {
            self.ranges.push(range.clone());
        } else {
            self.rule_out();
        }
    }

    /// Whether an ACK may still tell.
    pub(crate) const fn is_open(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Whether an ACK or the reordering timer began the episode.
    pub(crate) fn began_by_loss(&self) -> bool {
        self.cause == Cause::Loss
    }

    /// Whether `dsack` shows that an original was late, not lost.
    pub(crate) fn shows_reordering(&self, dsack: &Range<SeqNum>) -> bool {
        self.cause == Cause::Loss && self.span.contains(&dsack.start)
    }

    /// True when, with this ACK, all that was sent again is known to have been needless.
    pub(crate) fn on_ack(&mut self, ack: &Ack<'_>) -> bool {
        let Some(first) = self.ranges.first() else {
            return false;
        };
        let start = first.start;
        if ack.advanced
            && self
                .first_sent
                .is_some_and(|at| ack.arrived.echo_precedes(at))
        {
            // It answers a segment older than any of the retransmissions (RFC 3522 §3.2).
            self.subtract(&(start..ack.una.max(start)));
        }
        if let Some(dsack) = &ack.outcome.dsack
            && !self.repeated
        {
            self.subtract(dsack);
        }
        self.ranges.is_empty()
    }

    fn subtract(&mut self, gone: &Range<SeqNum>) {
        let left = |range: &Range<SeqNum>| {
            let before = range.start..range.end.min(gone.start);
            let after = range.start.max(gone.end)..range.end;
            [before, after]
        };
        let parts = self.ranges.iter().flat_map(left);
        self.ranges = parts.filter(|part| part.start < part.end).collect();
    }
}

/// F-RTO (RFC 5682 §3, and §2 without SACK): what was sent in the last window arrives after all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Frto {
    /// Not trying, or found out.
    #[default]
    Off,
    /// SND.UNA's segment was sent again; the next ACK that moves SND.UNA decides (step 2).
    Repeated,
    /// So many segments of new data may leave now; the ACK after decides (step 3).
    Forward(u8),
}

impl Frto {
    /// Segments of new data that leave before what is taken for lost.
    pub(crate) const fn forward(self) -> Option<u8> {
        match self {
            Self::Forward(segments) => Some(segments),
            _ => None,
        }
    }

    /// New data left.
    pub(crate) const fn on_new_data(&mut self, segments: u32) {
        if let Self::Forward(left) = self {
            *left = left.saturating_sub(if segments > 2 { 2 } else { segments as u8 });
        }
    }

    /// Looks at an ACK of the episode that ends at `point`; true when the timeout was spurious.
    pub(crate) fn on_ack(&mut self, ack: &Ack<'_>, point: SeqNum) -> bool {
        let above = ack.una > point || ack.outcome.highest > Some(point);
        match *self {
            Self::Off => false,
            Self::Repeated => {
                if !ack.advanced {
                    if !ack.sack && ack.duplicate {
                        *self = Self::Off;
                    }
                } else if ack.una >= point || !ack.more_to_send {
                    *self = Self::Off;
                } else {
                    *self = Self::Forward(2);
                }
                false
            }
            Self::Forward(_) => {
                *self = Self::Off;
                !above && ack.outcome.original.is_some_and(|start| start < point)
            }
        }
    }
}
