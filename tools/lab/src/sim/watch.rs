//! Watches a connection from outside: what its sender's state says has happened.

use ustack_tcp::{CaState, Info};

use crate::recording::Event;

/// What was last seen of a connection, and how often what happened.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Info,
    /// ssthresh before the episode under way.
    ssthresh_before: Option<u32>,
    pub(super) rtos: u64,
    pub(super) episodes: u64,
    pub(super) undone: u64,
    /// SRTT at the samples, in milliseconds.
    pub(super) srtts: Vec<f64>,
}

impl Watch {
    /// What `info` tells that the one before did not; true when something was worth a sample.
    pub(super) fn on_info(
        &mut self,
        at: f64,
        flow: &str,
        info: &Info,
        events: &mut Vec<Event>,
    ) -> bool {
        let noted = events.len();
        let mut note = |what: &str| {
            events.push(Event {
                at,
                flow: flow.to_owned(),
                what: what.to_owned(),
            });
        };
        let last = &self.last;
        if info.retransmits > last.retransmits {
            self.rtos += 1;
            note("rto");
        }
        if info.ca_state != last.ca_state {
            let was_whole = matches!(last.ca_state, CaState::Open | CaState::Disorder);
            if was_whole {
                self.ssthresh_before = last.snd_ssthresh;
            }
            match info.ca_state {
                CaState::Recovery => {
                    self.episodes += 1;
                    note("recovery");
                }
                CaState::Loss => self.episodes += u64::from(was_whole),
                CaState::Cwr => note("ecn"),
                _ if !was_whole && is_undone(self.ssthresh_before, info, last) => {
                    self.undone += 1;
                    note("undo");
                }
                _ => {}
            }
        } else if info.ca_state == CaState::Open
            && info.snd_ssthresh.is_some()
            && last.snd_ssthresh.is_none()
        {
            note("slow start ends");
        }
        self.last = *info;
        events.len() > noted
    }

    pub(super) fn last(&self) -> &Info {
        &self.last
    }
}

/// An undo restores the threshold that the episode lowered.
fn is_undone(before: Option<u32>, info: &Info, last: &Info) -> bool {
    info.snd_ssthresh == before && last.snd_ssthresh != before
}

/// Bytes in flight, by the counts of segments that are not yet accounted for (RFC 6675 pipe).
pub(super) fn in_flight(info: &Info) -> u64 {
    let out = u64::from(info.unacked) + u64::from(info.retrans);
    let left = u64::from(info.sacked) + u64::from(info.lost);
    out.saturating_sub(left) * u64::from(info.snd_mss)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(ca_state: CaState, ssthresh: Option<u32>, retransmits: u8) -> Info {
        let mut info = Info::default();
        info.ca_state = ca_state;
        info.snd_ssthresh = ssthresh;
        info.retransmits = retransmits;
        info
    }

    #[test]
    fn episodes_are_seen_and_counted() {
        let steps = [
            info(CaState::Open, None, 0),
            info(CaState::Open, Some(90), 0),
            info(CaState::Disorder, Some(90), 0),
            info(CaState::Recovery, Some(45), 0),
            info(CaState::Open, Some(45), 0),
            info(CaState::Recovery, Some(22), 0),
            info(CaState::Open, Some(45), 0),
            info(CaState::Loss, Some(22), 1),
            info(CaState::Loss, Some(22), 2),
            info(CaState::Open, Some(22), 0),
            info(CaState::Cwr, Some(11), 0),
        ];
        let (mut watch, mut events) = (Watch::default(), Vec::new());
        for step in &steps {
            watch.on_info(0.0, "a", step, &mut events);
        }
        let words: Vec<_> = events.iter().map(|event| event.what.as_str()).collect();
        let expected = [
            "slow start ends",
            "recovery",
            "recovery",
            "undo",
            "rto",
            "rto",
            "ecn",
        ];
        assert_eq!(words, expected);
        assert_eq!((watch.rtos, watch.episodes, watch.undone), (2, 3, 1));
    }
}
