//! Lines of a figure, from a trace.

use std::collections::BTreeMap;

use crate::trace::{Kind, Sample, Segment, Trace};

/// A value over time.
pub(crate) type Points = Vec<(f64, f64)>;

/// How bytes are told: a factor and a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) bytes: f64,
}

impl Unit {
    /// The unit in which `bytes` has few digits.
    pub(crate) fn of(bytes: f64) -> Self {
        let (name, bytes) = match bytes {
            ..1e4 => ("bytes", 1.0),
            1e4..2e6 => ("kB", 1e3),
            2e6..2e9 => ("MB", 1e6),
            _ => ("GB", 1e9),
        };
        Self { name, bytes }
    }

    pub(crate) fn scale(self, points: Points) -> Points {
        let scaled = points
            .into_iter()
            .map(|(at, bytes)| (at, bytes / self.bytes));
        scaled.collect()
    }
}

/// A part of time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// From when.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

impl Window {
    pub(crate) fn has(self, at: f64) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// The points inside; what held before holds at the beginning, and the last value at the end.
    pub(crate) fn clip(self, points: &[(f64, f64)]) -> Points {
        let first = points.partition_point(|point| point.0 < self.from);
        let last = points.partition_point(|point| point.0 <= self.to);
        let carried = first
            .checked_sub(1)
            .map(|before| (self.from, points[before].1));
        let mut clipped: Points = carried
            .into_iter()
            .chain(points[first..last].iter().copied())
            .collect();
        clipped.extend(clipped.last().map(|point| (self.to, point.1)));
        clipped
    }
}

/// What `segments` acknowledge, as the highest number so far.
pub(crate) fn acknowledged(segments: &[Segment]) -> Points {
    highest(
        segments
            .iter()
            .filter_map(|segment| Some((segment.at, segment.ack?))),
    )
}

/// How far `segments` let the other end send: the right edge of their windows.
pub(crate) fn right_edge(segments: &[Segment]) -> Points {
    let edges = segments.iter().filter_map(|segment| {
        let edge = segment.ack? + u64::from(segment.window?);
        Some((segment.at, edge))
    });
    highest(edges)
}

fn highest(values: impl Iterator<Item = (f64, u64)>) -> Points {
    let mut points = Points::new();
    let mut most = None;
    for (at, value) in values {
        if most.is_none_or(|most| value > most) {
            most = Some(value);
            points.push((at, value as f64));
        }
    }
    points
}

/// The greatest value of all.
pub(crate) fn highest_of<'a>(lines: impl IntoIterator<Item = &'a Points>) -> f64 {
    let values = lines.into_iter().flatten().map(|point| point.1);
    values.fold(0.0, f64::max)
}

/// Which bytes segments of each kind carried, in pairs of points.
pub(crate) fn extents(segments: &[Segment], window: Window) -> BTreeMap<Kind, Points> {
    let mut kinds = BTreeMap::<Kind, Points>::new();
    let carried = segments
        .iter()
        .filter(|segment| segment.len > 0 && window.has(segment.at));
    for segment in carried {
        let (from, to) = (segment.seq, segment.seq + u64::from(segment.len));
        let points = kinds.entry(segment.kind).or_default();
        points.extend([(segment.at, from as f64), (segment.at, to as f64)]);
    }
    kinds
}

/// What `segments` report by SACK, above what they acknowledge, in pairs of points.
pub(crate) fn sacked(segments: &[Segment], window: Window) -> Points {
    let mut points = Points::new();
    for segment in segments.iter().filter(|segment| window.has(segment.at)) {
        let above = segment
            .sack
            .iter()
            .filter(|block| segment.ack.is_none_or(|ack| block.0 > ack));
        points
            .extend(above.flat_map(|&(left, right)| {
                [(segment.at, left as f64), (segment.at, right as f64)]
            }));
    }
    points
}

/// Bytes per second over time, from totals, in about as many steps as can be told apart.
pub(crate) fn rate(totals: &[(f64, f64)], window: Window, steps: f64, shortest: f64) -> Points {
    let span = window.to - window.from;
    let step = (span / steps).max(shortest).max(1e-6);
    let count = ((span / step).ceil() as usize).max(1);
    let total_at = |at: f64| {
        let place = totals.partition_point(|point| point.0 <= at);
        place.checked_sub(1).map_or(0.0, |place| totals[place].1)
    };
    let mut points = Points::new();
    for index in 0..count {
        let from = window.from + index as f64 * step;
        let to = (from + step).min(window.to);
        if to > from {
            points.push((from, (total_at(to) - total_at(from)) / (to - from)));
        }
    }
    points.extend(points.last().map(|last| (window.to, last.1)));
    points
}

/// Payload of `segments` added up, those sent again included.
pub(crate) fn total(segments: &[Segment]) -> Points {
    let mut total = 0.0;
    let carried = segments.iter().filter(|segment| segment.len > 0);
    carried
        .map(|segment| {
            total += f64::from(segment.len);
            (segment.at, total)
        })
        .collect()
}

/// A variable of the sender over time.
pub(crate) fn sampled(trace: &Trace, value: impl Fn(&Sample) -> Option<f64>) -> Points {
    let samples = trace.samples.iter();
    samples
        .filter_map(|sample| Some((sample.at, value(sample)?)))
        .collect()
}
