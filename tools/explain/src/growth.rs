//! How much is on its way, from the first byte until something stops its growth.

use serde::Serialize;

use crate::moment::Moment;

/// What ended the first growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// A retransmission.
    Loss,
    /// A mark of congestion (ECE).
    Mark,
    /// The receiver's window.
    Window,
}

/// Bytes on their way.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Growth {
    /// The first data.
    pub began: Option<Moment>,
    /// Bytes on their way in the first burst.
    pub initial: u64,
    /// What ended the growth.
    pub stopped: Option<(Stop, Moment)>,
    /// The most until then.
    pub peak: u64,
    /// The most at any time.
    pub largest: u64,
    #[serde(skip)]
    acknowledged: bool,
}

impl Growth {
    pub(crate) fn on_sent(&mut self, now: Moment, size: u64) {
        self.began.get_or_insert(now);
        if !self.acknowledged {
            self.initial = self.initial.max(size);
        }
        if self.stopped.is_none() {
            self.peak = self.peak.max(size);
        }
        self.largest = self.largest.max(size);
    }

    pub(crate) fn on_acknowledged(&mut self) {
        self.acknowledged |= self.began.is_some();
    }

    pub(crate) fn stop(&mut self, now: Moment, why: Stop) {
        if self.began.is_some() {
            self.stopped.get_or_insert((why, now));
        }
    }
}
