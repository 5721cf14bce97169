//! What holds of the flight between two calls.

use core::ops::Range;

use crate::invariant::{Held, holds};
use crate::seq::SeqNum;

use super::{Fate, Flight, MAX_RECORDS, SentRange};

/// Records beyond [`MAX_RECORDS`]: cuts at SND.UNA, and where something is sent again.
const SLACK: usize = 2 * MAX_RECORDS;

impl Flight {
    /// How many records [`Flight::recount`] looks at.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// What can be told without a look at the records, which cover `span`.
    pub(crate) fn check_counters(&self, span: &Range<SeqNum>) -> Held {
        let judged = self.sacked + self.lost + self.resent + self.twice;
        holds(
            self.outstanding == span.end - span.start,
            "the flight covers SND.UNA..SND.NXT",
        )?;
        holds(judged <= self.outstanding, "no byte has two fates")?;
        holds(
            self.dup_acked + self.lost <= self.outstanding,
            "duplicate ACKs stand for no more than is on its way",
        )?;
        holds(
            self.dup_acked == 0 || self.sacked == 0,
            "duplicate ACKs are counted or SACK is",
        )?;
        holds(
            self.sacked_segments <= self.sacked && (self.sacked_segments > 0) == (self.sacked > 0),
            "SACKed segments have bytes",
        )?;
        holds(
            self.fack.is_none_or(|fack| fack <= span.end),
            "what has arrived was sent",
        )?;
        let ends = (self.records.front(), self.records.back());
        let covered = ends
            .0
            .zip(ends.1)
            .map(|(first, last)| first.start..last.end());
        holds(
            covered.is_none_or(|covered| covered == *span),
            "the records begin at SND.UNA and end at SND.NXT",
        )?;
        holds(
            self.records.len() <= SLACK,
            "the flight has a bounded number of records",
        )
    }

    /// The counters equal a recount, and the short cuts lead past nothing.
    pub(crate) fn recount(&self) -> Held {
        let sum = |fate| -> u32 {
            let same = self.records.iter().filter(|sent| sent.fate == fate);
            same.map(|sent| sent.len).sum()
        };
        let held = self.records.iter().filter(|sent| sent.fate == Fate::Sacked);
        let all = self.records.iter().map(|sent| sent.len);
        holds(
            self.outstanding == all.sum(),
            "outstanding equals a recount",
        )?;
        holds(self.sacked == sum(Fate::Sacked), "sacked equals a recount")?;
        holds(self.lost == sum(Fate::Lost), "lost equals a recount")?;
        holds(self.resent == sum(Fate::Resent), "resent equals a recount")?;
        holds(self.twice == sum(Fate::Twice), "twice equals a recount")?;
        holds(
            self.sacked_segments == held.map(SentRange::segments).sum(),
            "sacked_segments equals a recount",
        )?;
        let first = self.records.iter().find(|sent| sent.fate == Fate::Lost);
        holds(
            self.next_lost() == first.map(SentRange::range),
            "next_lost passes over nothing",
        )?;
        self.check_order()?;
        self.sampler()
            .map_or(Ok(()), |sampler| sampler.recount(self.end()))
    }

    fn end(&self) -> Option<SeqNum> {
        self.records.back().map(SentRange::end)
    }

    fn check_order(&self) -> Held {
        let mut records = self.records.iter().peekable();
        while let Some(sent) = records.next() {
            holds(sent.len > 0 && sent.mss > 0, "a record has bytes")?;
            let again = matches!(sent.fate, Fate::Resent | Fate::Twice);
            holds(
                sent.retransmitted || !again,
                "what was sent again is marked so",
            )?;
            holds(
                !again || Some(sent.start) < self.repaired_to,
                "repaired_to lies above all that was sent again",
            )?;
            if let Some(next) = records.peek() {
                holds(sent.end() == next.start, "records lie side by side")?;
                let both = (sent.fate, next.fate) == (Fate::Sacked, Fate::Sacked);
                holds(!both, "what the peer holds is joined")?;
            }
        }
        Ok(())
    }
}
