//! A report as lines of text. The first says who spoke with whom, the second what is wrong, the third
//! what shows it.

use crate::diagnosis::{Finding, Severity};
use crate::report::{End, Report};
use crate::words::{ENDS, bytes, clock, many, time};

/// Phases that are told of one conversation; more are only counted.
const PHASES: usize = 24;

/// The whole story, each line ended; but for the first they are indented.
pub fn describe(report: &Report) -> String {
    let mut lines = vec![about(report)];
    match report.findings.split_first() {
        None => lines.push("nothing unusual".to_owned()),
        Some((first, rest)) => {
            lines.extend(describe_finding(first));
            for finding in rest {
                lines.extend(describe_finding(finding));
            }
        }
    }
    lines.extend(
        report
            .ends
            .iter()
            .zip(ENDS)
            .map(|(end, name)| describe_end(end, name)),
    );
    for phase in report.phases.iter().take(PHASES) {
        let began = clock(phase.began.at);
        lines.push(format!("{began:>10}  {}", phase.text));
    }
    if report.phases.len() > PHASES {
        let left = report.phases.len() - PHASES;
        lines.push(format!(
            "            … and {}",
            many(left as u64, "more phase")
        ));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    let number = report.number.to_string();
    let indent = " ".repeat(number.len() + 2);
    format!("{number}  {}\n", lines.join(&format!("\n{indent}")))
}

/// Who spoke with whom, how much and how long.
pub fn about(report: &Report) -> String {
    format!(
        "TCP {} > {}: {}, {} to {}, {}",
        report.client,
        report.server,
        many(report.packets, "packet"),
        report.first.packet,
        report.last.packet,
        time(report.last.since(report.first))
    )
}

fn describe_finding(finding: &Finding) -> Vec<String> {
    let severity = match finding.severity {
        Severity::Broken => "BROKEN",
        Severity::Slow => "SLOW",
        Severity::Minor => "NOTE",
    };
    let mut evidence = finding.evidence.iter();
    let mut lines = vec![format!("{severity}: {}", finding.cause)];
    if let Some(first) = evidence.next() {
        lines.push(format!("  {first} ({})", finding.source));
    }
    lines.extend(evidence.map(|more| format!("  {more}")));
    lines.push(format!("  what to do: {}", finding.advice));
    lines
}

fn describe_end(end: &End, name: &str) -> String {
    let repeated = match end.repeated {
        0 => String::new(),
        count => format!(" ({count} repeated)"),
    };
    let answers = end
        .answers
        .map(|answers| format!("; answers within {}", time(answers)));
    let marked = match end.marked.times {
        0 => String::new(),
        count => format!("; {count} of its packets marked as congested"),
    };
    format!(
        "{name}: {}{repeated}, {}; window up to {}{}{marked}",
        many(end.segments, "segment"),
        bytes(end.bytes),
        bytes(end.window),
        answers.unwrap_or_default()
    )
}
