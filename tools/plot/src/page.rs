//! The page of one connection: figures of all of it, its repairs from near, and what they amount to.

use std::fmt::Write as _;

use figures::{Block, Chart, Report, Section, Table};

use crate::figure;
pub use crate::series::Window;
use crate::trace::{Kind, Recovery, Segment, Trace};

/// Repairs that are shown from near: the longest ones, in the order of time.
const SHOWN_FROM_NEAR: usize = 8;

/// The page of `trace`: all of it, or a part of its time.
pub fn page(trace: &Trace, part: Option<Window>, command: &str) -> Report {
    let (from, to) = trace.span();
    let all = Window { from, to };
    let window = part.unwrap_or(all);
    let title = format!("{} \u{2194} {}", trace.local, trace.remote);
    let mut report = Report::new(title, command);
    report.about = about(trace, all, window);
    report.parameters = totals(trace);
    report = report.section(direction("What the stack sent", &trace.sent, || {
        figure::sent(trace, "", window)
    }));
    report = report.section(direction("What it received", &trace.received, || {
        figure::received(trace, "", window)
    }));
    let inside = |recovery: &&Recovery| {
        recovery.from <= window.to && recovery.to.is_none_or(|to| to >= window.from)
    };
    let recoveries: Vec<_> = trace.recoveries.iter().filter(inside).collect();
    if !recoveries.is_empty() {
        report = report.section(repairs(trace, &recoveries, all));
        report = report.section(list(&recoveries));
    }
    report
}

/// Segments with data from which on a figure shows more than a sentence.
const WORTH_A_FIGURE: usize = 8;

fn direction(title: &str, segments: &[Segment], figure: impl FnOnce() -> Chart) -> Section {
    let with_data = segments.iter().filter(|segment| segment.len > 0);
    let (count, bytes) = with_data.fold((0, 0), |(count, bytes), segment| {
        (count + 1, bytes + u64::from(segment.len))
    });
    let block = match count {
        0 => Block::Text("No data, only acknowledgments.".to_owned()),
        1 => Block::Text(format!("{} bytes in one segment.", thousands(bytes))),
        2..WORTH_A_FIGURE => {
            let bytes = thousands(bytes);
            Block::Text(format!("{bytes} bytes in {count} segments."))
        }
        _ => Block::from(figure()),
    };
    Section::new(title).block(block)
}

fn about(trace: &Trace, all: Window, window: Window) -> String {
    let (local, began) = (trace.local, duration(all.from));
    let length = duration(all.to - all.from);
    let mut text = format!("Seen from the stack, at {local}, from {began} on for {length}.");
    if window != all {
        let (from, to) = (duration(window.from), duration(window.to));
        let _ = write!(text, " Shown is the part from {from} to {to}.");
    }
    if let Some((_, state)) = trace.states.last() {
        let _ = write!(text, " It was last in {state}.");
    }
    if trace.missing > 0 {
        let missing = thousands(trace.missing);
        let _ = write!(
            text,
            "\n\n{missing} of its events are missing, too many to be kept."
        );
    }
    text
}

/// Name and value of what the connection amounts to.
fn totals(trace: &Trace) -> Vec<(String, String)> {
    let bytes = |segments: &[Segment]| -> u64 {
        segments.iter().map(|segment| u64::from(segment.len)).sum()
    };
    let again = |kinds: &[Kind]| -> u64 {
        let segments = trace
            .sent
            .iter()
            .filter(|segment| kinds.contains(&segment.kind));
        segments.map(|segment| u64::from(segment.len)).sum()
    };
    let round_trips = || trace.round_trips.iter().map(|point| point.1);
    let mut totals = vec![
        ("bytes sent".to_owned(), thousands(bytes(&trace.sent))),
        (
            "bytes received".to_owned(),
            thousands(bytes(&trace.received)),
        ),
    ];
    for (name, kinds) in [
        ("sent again, fast", &[Kind::FastRetransmit][..]),
        (
            "sent again, after a timeout",
            &[Kind::TimeoutRetransmit][..],
        ),
        ("sent again, other", &[Kind::OtherRetransmit][..]),
    ] {
        let bytes = again(kinds);
        if bytes > 0 {
            totals.push((format!("bytes {name}"), thousands(bytes)));
        }
    }
    if round_trips().next().is_some() {
        let least = round_trips().fold(f64::INFINITY, f64::min);
        let most = round_trips().fold(0.0, f64::max);
        let mut sorted: Vec<_> = round_trips().collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let text = format!(
            "{} / {} / {}",
            duration(least),
            duration(median),
            duration(most)
        );
        totals.push(("round trip: least, median, greatest".to_owned(), text));
    }
    totals.push((
        "repairs of losses".to_owned(),
        trace.recoveries.len().to_string(),
    ));
    totals
}

/// The longest repairs from near.
fn repairs(trace: &Trace, recoveries: &[&Recovery], all: Window) -> Section {
    let mut section = Section::new("Repairs of losses");
    let mut longest = recoveries.to_vec();
    let length = |recovery: &Recovery| recovery.to.unwrap_or(all.to) - recovery.from;
    longest.sort_by(|a, b| length(b).total_cmp(&length(a)));
    longest.truncate(SHOWN_FROM_NEAR);
    longest.sort_by(|a, b| a.from.total_cmp(&b.from));
    if recoveries.len() > longest.len() {
        let (shown, count) = (longest.len(), recoveries.len());
        let text =
            format!("The {shown} longest of {count}; --from and --to show any other from near.");
        section = section.block(Block::Text(text));
    }
    for recovery in longest {
        let (at, by) = (recovery.from, &recovery.by);
        let title = format!("At {at:.3} s, noticed by {by}: {}", outcome(recovery));
        let window = around(trace, recovery, all);
        section = section.block(figure::repair(trace, &title, window));
    }
    section
}

/// All repairs.
fn list(recoveries: &[&Recovery]) -> Section {
    let columns = ["at (s)", "noticed by", "lost (bytes)", "took", "outcome"];
    let rows = recoveries.iter().map(|recovery| {
        let took = recovery.to.map(|to| duration(to - recovery.from));
        [
            format!("{:.6}", recovery.from),
            recovery.by.clone(),
            thousands(recovery.lost),
            took.unwrap_or_else(|| "\u{2014}".to_owned()),
            outcome(recovery).to_owned(),
        ]
    });
    let section = Section::new(format!("All {} repairs", recoveries.len()));
    section
        .collapsed()
        .block(rows.fold(Table::new(columns), Table::row))
}

fn outcome(recovery: &Recovery) -> &'static str {
    match (recovery.undone, recovery.to) {
        (true, _) => "a false alarm, taken back",
        (false, Some(_)) => "repaired",
        (false, None) => "never repaired",
    }
}

/// A repair and a round trip before and after it.
fn around(trace: &Trace, recovery: &Recovery, all: Window) -> Window {
    let before = trace
        .samples
        .partition_point(|sample| sample.at <= recovery.from);
    let srtt = trace.samples[..before]
        .last()
        .and_then(|sample| sample.srtt);
    let to = recovery.to.unwrap_or(all.to);
    let margin = srtt
        .unwrap_or(0.0)
        .max((to - recovery.from) / 4.0)
        .max(1e-4);
    Window {
        from: (recovery.from - margin).max(all.from),
        to: (to + margin).min(all.to),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..1e-3 => format!("{:.0} \u{b5}s", seconds * 1e6),
        1e-3..1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.3} s"),
    }
}

/// Digits in groups of three.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
