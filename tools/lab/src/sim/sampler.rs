//! Series over time: what flows and links look like at every interval and whenever something
//! happened.

use ustack_tcp::Info;
use ustack_tcp::time::{Duration, Instant};

use super::network::{Link, count};
use super::watch::in_flight;
use crate::app::seconds;
use crate::recording::Series;

/// Quantities of connections, with their units.
const FLOW: [(&str, &str); 6] = [
    ("cwnd", "kB"),
    ("ssthresh", "kB"),
    ("in_flight", "kB"),
    ("srtt", "ms"),
    ("throughput", "Mbit/s"),
    ("pacing_rate", "Mbit/s"),
];
/// Quantities of links.
const LINK: [(&str, &str); 4] = [
    ("queue", "packets"),
    ("queue_delay", "ms"),
    ("throughput", "Mbit/s"),
    ("drops", "packets"),
];

/// The names of all series.
pub fn names() -> impl Iterator<Item = &'static str> {
    let all = FLOW.iter().chain(&LINK).map(|(name, _)| *name);
    all.filter({
        let mut seen = Vec::new();
        move |name| {
            let fresh = !seen.contains(name);
            seen.push(*name);
            fresh
        }
    })
}

/// The series of one flow, one connection of a split flow, or one link.
#[derive(Debug)]
pub(super) struct Recorder {
    series: Vec<Option<Series>>,
    /// Bytes that had passed at the last sample, and when that was.
    passed: (Instant, u64),
}

impl Recorder {
    pub(super) fn of_flow(subject: &str, wanted: Option<&[String]>) -> Self {
        Self::new(subject, wanted, &FLOW)
    }

    pub(super) fn of_link(subject: &str, wanted: Option<&[String]>) -> Self {
        Self::new(subject, wanted, &LINK)
    }

    fn new(
        subject: &str,
        wanted: Option<&[String]>,
        names: &[(&'static str, &'static str)],
    ) -> Self {
        let series = names.iter().map(|(name, unit)| {
            let is_wanted = wanted.is_none_or(|wanted| wanted.iter().any(|other| other == name));
            is_wanted.then(|| Series {
                subject: subject.to_owned(),
                name: (*name).to_owned(),
                unit,
                points: Vec::new(),
            })
        });
        Self {
            series: series.collect(),
            passed: (Instant::ZERO, 0),
        }
    }

    fn push(&mut self, index: usize, now: Instant, value: Option<f64>) {
        if let Some(Some(series)) = self.series.get_mut(index)
            && let Some(value) = value
        {
            series.points.push((at(now), value));
        }
    }

    /// A connection, at an interval or an event.
    pub(super) fn on_info(&mut self, now: Instant, info: &Info) {
        let kilo = |bytes: u64| Some(bytes as f64 / 1e3);
        self.push(0, now, kilo(u64::from(info.snd_cwnd)));
        self.push(
            1,
            now,
            info.snd_ssthresh.and_then(|bytes| kilo(u64::from(bytes))),
        );
        self.push(2, now, kilo(in_flight(info)));
        self.push(3, now, info.rtt.map(millis));
        self.push(5, now, info.pacing_rate.map(|rate| rate as f64 * 8.0 / 1e6));
    }

    /// What the receiving application has read so far, at an interval.
    pub(super) fn on_received(&mut self, now: Instant, bytes: u64) {
        let rate = self.rate(now, bytes);
        self.push(4, now, rate);
    }

    /// A link, at an interval.
    pub(super) fn on_link(&mut self, now: Instant, link: &Link) {
        let counters = link.counters();
        self.push(0, now, Some(link.lane.queue_packets() as f64));
        self.push(1, now, Some(millis(link.lane.last_sojourn())));
        let rate = self.rate(now, count(&counters.delivered_bytes));
        self.push(2, now, rate);
        let dropped = count(&counters.overflowed) + count(&counters.codel_dropped);
        self.push(3, now, Some((dropped + count(&counters.lost)) as f64));
    }

    /// Mbit/s since the last sample.
    fn rate(&mut self, now: Instant, bytes: u64) -> Option<f64> {
        let (then, before) = std::mem::replace(&mut self.passed, (now, bytes));
        let time = seconds(now.saturating_since(then));
        (time > 0.0).then(|| bytes.saturating_sub(before) as f64 * 8.0 / 1e6 / time)
    }

    pub(super) fn finish(self) -> impl Iterator<Item = Series> {
        let all = self.series.into_iter().flatten();
        all.filter(|series| !series.points.is_empty())
    }
}

/// A moment in seconds.
pub(super) fn at(now: Instant) -> f64 {
    now.as_nanos() as f64 / 1e9
}

/// A time in milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}
