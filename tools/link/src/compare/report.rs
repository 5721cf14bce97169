//! Outcomes as a table.

use std::fmt::Write as _;

use super::cell::Cell;
use super::run::{MOST_LATE, Outcome};
use super::sender::Sender;

/// All outcomes of one cell by one sender.
struct Side<'a>(Vec<&'a Outcome>);

impl Side<'_> {
    fn median(&self, of: impl Fn(&Outcome) -> f64) -> Option<f64> {
        median(self.0.iter().map(|outcome| of(outcome)).collect())
    }

    fn count(&self, of: impl Fn(&Outcome) -> Option<u64>) -> String {
        let all: Option<Vec<_>> = self.0.iter().map(|outcome| of(outcome)).collect();
        let counts = all.map(|all| all.into_iter().map(|count| count as f64).collect());
        let median = counts.and_then(median);
        median.map_or("–".to_owned(), |median| format!("{median:.0}"))
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The table of these outcomes in Markdown, and what it comes to. Of a run that was repeated since
/// its link was late, the last one counts.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let cells = cells(outcomes);
    let named: Vec<_> = cells.iter().copied().filter(Cell::is_named).collect();
    let reno = |cell: &&Cell| cell.algorithm != super::cell::Algorithm::Cubic;
    let _ = writeln!(text, "## The named cells\n");
    table(&mut text, outcomes, &named);
    let reno: Vec<_> = cells.iter().filter(reno).copied().collect();
    if !reno.is_empty() {
        let _ = writeln!(text, "\n## With Reno\n");
        table(&mut text, outcomes, &reno);
    }
    let rest: Vec<_> = cells
        .iter()
        .filter(|cell| !cell.is_named() && !reno.contains(cell))
        .copied()
        .collect();
    if !rest.is_empty() {
        let _ = writeln!(text, "\n## The other cells\n");
        table(&mut text, outcomes, &rest);
    }
    let _ = writeln!(text, "\n## What it comes to\n");
    summary(&mut text, outcomes, &cells, &named);
    text
}

fn cells(outcomes: &[Outcome]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for outcome in outcomes {
        if !cells.contains(&outcome.cell) {
            cells.push(outcome.cell);
        }
    }
    cells.sort_by(|a, b| {
        let key = |cell: &Cell| (cell.algorithm, cell.rate, cell.rtt);
        let faults = a
            .loss
            .total_cmp(&b.loss)
            .then(a.reorder.total_cmp(&b.reorder));
        key(a).cmp(&key(b)).then(faults)
    });
    cells
}

/// The runs that count: the last of each sender, cell and repeat.
fn side(outcomes: &[Outcome], cell: Cell, sender: Sender) -> Side<'_> {
    let mut last: Vec<&Outcome> = Vec::new();
    for outcome in outcomes {
        if outcome.cell == cell && outcome.sender == sender {
            last.retain(|other| other.repeat != outcome.repeat);
            last.push(outcome);
        }
    }
    Side(last)
}

fn ratio(outcomes: &[Outcome], cell: Cell, sender: Sender) -> Option<f64> {
    let goodput = |outcome: &Outcome| outcome.goodput;
    let ours = side(outcomes, cell, sender).median(goodput)?;
    let linux = side(outcomes, cell, Sender::Linux).median(goodput)?;
    Some(ours / linux)
}

fn table(text: &mut String, outcomes: &[Outcome], cells: &[Cell]) {
    let _ = writeln!(
        text,
        "| Mbit/s | RTT ms | loss % | reorder % | Linux Mbit/s | ustack Mbit/s | ustack/Linux | \
         smoltcp Mbit/s | sent again: Linux / ustack | timeouts: Linux / ustack | \
         D-SACKs: Linux / ustack | runs |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for &cell in cells {
        let [linux, ours, smol] = [Sender::Linux, Sender::Ustack, Sender::Smoltcp]
            .map(|sender| side(outcomes, cell, sender));
        let number =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
        let goodput = |side: &Side<'_>| number(side.median(|outcome| outcome.goodput));
        let pair =
            |of: fn(&Outcome) -> Option<u64>| format!("{} / {}", linux.count(of), ours.count(of));
        let all = linux.0.iter().chain(&ours.0);
        let late = if all.clone().any(|outcome| outcome.is_spoiled()) {
            " late"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {}{late} |",
            cell.rate,
            cell.rtt,
            cell.loss,
            cell.reorder,
            goodput(&linux),
            goodput(&ours),
            number(ratio(outcomes, cell, Sender::Ustack)),
            goodput(&smol),
            pair(|outcome| outcome.stats.retransmits),
            pair(|outcome| outcome.stats.timeouts),
            pair(|outcome| outcome.stats.dsacks),
            linux.0.len().min(ours.0.len()),
        );
    }
}

fn summary(text: &mut String, outcomes: &[Outcome], cells: &[Cell], named: &[Cell]) {
    let ratios = |cells: &[Cell], sender| -> Vec<f64> {
        let ratio = |&cell| ratio(outcomes, cell, sender);
        cells.iter().filter_map(ratio).collect()
    };
    for (what, cells) in [("all cells", cells), ("the named cells", named)] {
        let all = ratios(cells, Sender::Ustack);
        let lowest = all.iter().copied().min_by(f64::total_cmp);
        if let (Some(median), Some(lowest)) = (median(all.clone()), lowest) {
            let _ = writeln!(
                text,
                "- ustack/Linux over {what} ({}): median {median:.3}, lowest {lowest:.3}.",
                all.len(),
            );
        }
    }
    if let Some(smoltcp) = median(ratios(named, Sender::Smoltcp)) {
        let _ = writeln!(
            text,
            "- smoltcp/Linux over the named cells: median {smoltcp:.3}."
        );
    }
    let worst = outcomes.iter().map(|outcome| outcome.worst_micros).max();
    let spoiled = outcomes
        .iter()
        .filter(|outcome| outcome.is_spoiled())
        .count();
    let _ = writeln!(
        text,
        "- {} runs; the link's worst lateness in any of them was {:.1} ms; in {spoiled} runs more \
         than {} % of its turns were over 1 ms late.",
        outcomes.len(),
        worst.unwrap_or(0) as f64 / 1000.0,
        MOST_LATE * 100.0,
    );
}
