//! Writes down what was measured: the table of verdicts, and behind it every figure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use crate::journal::{Entry, Outcome, Sample, rounds, samples};
use crate::judge::{Finding, Round, Verdict, judge, kept, median};
use crate::machine::Machine;
use crate::table::{Bar, Demand, Over, Row, rows};

/// Rounds without which nothing is said to pass.
const NEEDED: usize = 5;

const HOW: &str = "\
A client on kernel sockets, pinned to CPU 0, works a stack that is pinned to CPU 1. Both are in a
network namespace of their own, joined by a TUN device (MTU 1500, `txqueuelen` 10,000); for Linux as
the stack, by a veth pair to a second namespace. TCP senders use CUBIC. Each run starts the stack
anew.

The contestants of a row run in turns: a round is one run of each, in the order given below. A round
counts if its first contestant, the reference, is within 15 % of the median of all references;
other rounds are thrown away, as the machine was busy with something else. Ratios are taken within a
round, and their median over the rounds that count is quoted, the least and the most behind it. Only
ratios mean anything: absolute figures are those of this machine on that day.

The *probe* is a \"stack\" with no TCP in it: it answers SYN, acknowledges what arrives in order, or
sends as fast as the window allows. With offload no stack on one thread and one queue can be much
faster, without it none that makes a system call for each packet. Where a demand is not met, what
the probe reaches by the same measure stands beside it.
";

/// What is reported: one build, one length of runs.
struct Scope<'a> {
    entries: &'a [Entry],
    machine: &'a Machine,
    seconds: f64,
}

impl<'a> Scope<'a> {
    /// The last that was measured.
    fn last(entries: &'a [Entry]) -> io::Result<Self> {
        let nothing = || io::Error::other("nothing was measured yet: run `bench all` as root");
        let machines = entries.iter().rev().filter_map(|entry| match entry {
            Entry::Machine(machine) => Some(machine),
            Entry::Sample(_) => None,
        });
        let last = entries.iter().rev().find_map(|entry| match entry {
            Entry::Sample(sample) => Some(sample),
            Entry::Machine(_) => None,
        });
        let last = last.ok_or_else(nothing)?;
        let mut of_build = machines.filter(|machine| machine.build == last.build);
        Ok(Self {
            entries,
            machine: of_build.next().ok_or_else(nothing)?,
            seconds: last.seconds,
        })
    }

    fn samples(&self, row: &Row) -> Vec<&'a Sample> {
        samples(self.entries, row.name, &self.machine.build, self.seconds)
    }

    fn rounds(&self, row: &Row) -> Vec<Round> {
        rounds(&self.samples(row))
    }
}

/// The whole report.
pub fn markdown(entries: &[Entry]) -> io::Result<String> {
    let scope = Scope::last(entries)?;
    let mut text = String::from("# Performance, end to end\n\n");
    let _ = writeln!(
        text,
        "Written by `bench report` ([tools/bench](../tools/bench/README.md)) from runs of {} s; \
         not to be edited by hand.\n",
        scope.seconds
    );
    machine(&mut text, scope.machine);
    text.push_str("\n## The table\n\n");
    text.push_str(&table(&scope, &rows()));
    text.push_str("\n## How it is measured\n\n");
    text.push_str(HOW);
    for row in rows() {
        details(&mut text, &scope, &row);
    }
    Ok(text)
}

/// The table of these rows alone.
pub fn verdicts(entries: &[Entry], rows: &[Row]) -> io::Result<String> {
    Ok(table(&Scope::last(entries)?, rows))
}

fn machine(text: &mut String, machine: &Machine) {
    let Machine {
        cpu,
        cpus,
        kernel,
        build,
        versions,
        sysctls,
    } = machine;
    text.push_str("## The machine\n\n");
    let _ = writeln!(text, "- {cpus} CPUs: {cpu}\n- {kernel}");
    for (name, version) in versions {
        let _ = writeln!(text, "- {name}: {version}");
    }
    for (name, value) in sysctls {
        let _ = writeln!(text, "- `{name}`: {value}");
    }
    let _ = writeln!(text, "- build of ustack: `{build}`");
}

fn table(scope: &Scope<'_>, rows: &[Row]) -> String {
    let mut text = String::from(
        "| row | work | must be | measured | spread | rounds | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let all = scope.rounds(row);
        let counting = kept(row, &all);
        for (number, bar) in row.bars.iter().enumerate() {
            let finding = judge(bar, &counting, &all, NEEDED);
            let (name, title) = if number == 0 {
                (row.name, row.title)
            } else {
                ("", "")
            };
            let _ = writeln!(
                text,
                "| {name} | {title} | {} | {} | {} | {} of {} | {} |",
                must_be(bar, finding.best),
                finding
                    .value
                    .map_or_else(|| "—".to_owned(), |value| measured(bar, value)),
                spread(&finding),
                counting.len(),
                all.len(),
                verdict(&finding.verdict),
            );
        }
    }
    text
}

fn must_be(bar: &Bar, best: Option<&str>) -> String {
    let (sign, bound) = match bar.demand {
        Demand::None => ("", None),
        Demand::AtLeast(bound) => ("≥ ", Some(bound)),
        Demand::AtMost(bound) => ("≤ ", Some(bound)),
    };
    let bound = bound.map_or_else(String::new, |bound| format!("{sign}{bound}"));
    let against = match bar.against {
        [] => String::new(),
        [one] => format!(" × {one}"),
        _ => format!(
            " × the best peer{}",
            best.map_or_else(String::new, |best| format!(" ({best})"))
        ),
    };
    let every = if bar.over == Over::Every {
        ", every round"
    } else {
        ""
    };
    let condition = bar
        .where_below
        .map_or_else(String::new, |limit| format!(", where below {limit}"));
    let text = format!(
        "{} of {}: {bound}{against}{every}{condition}",
        label(bar.figure),
        bar.of
    );
    text.trim_end_matches(": ").replace(":  ×", ", as ratio to")
}

/// A figure's name for people.
fn label(figure: &str) -> &str {
    match figure {
        "gbit_per_s" => "Gbit/s",
        "p50_us" => "p50",
        "connections_per_s" => "connections/s",
        "requests_per_s" => "requests/s",
        "datagrams_per_s" => "datagrams/s",
        "slowest_to_mean" => "slowest flow / mean",
        "bytes_per_connection" => "bytes per connection",
        "idle_cpu_percent" => "% of a core",
        other => other,
    }
}

fn measured(bar: &Bar, value: f64) -> String {
    let sign = if bar.against.is_empty() { "" } else { " ×" };
    format!("**{}**{sign}", number(value))
}

fn spread(finding: &Finding) -> String {
    finding.spread.map_or_else(
        || "—".to_owned(),
        |(low, high)| format!("{}–{}", number(low), number(high)),
    )
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Fail(None) => "**FAIL**".to_owned(),
        Verdict::Fail(Some(limit)) => format!("**FAIL**; the limit: {} ×", number(*limit)),
        Verdict::Told => "told only".to_owned(),
        Verdict::AboveLimit => "not asked: above the limit".to_owned(),
        Verdict::TooFew => format!("open: fewer than {NEEDED} rounds count"),
        Verdict::Broke(why) => format!("**FAIL**: {}", first_line(why)),
        Verdict::NotMeasured(why) => format!("not measured: {}", first_line(why)),
    }
}

/// The first line, as a cell of a table takes it.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.replace('|', "/")
}

/// Three digits that mean something, more where there are more.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

fn details(text: &mut String, scope: &Scope<'_>, row: &Row) {
    let samples = scope.samples(row);
    let all = scope.rounds(row);
    let counting = kept(row, &all);
    let _ = writeln!(text, "\n## {}: {}\n", row.name, row.title);
    let _ = writeln!(
        text,
        "```sh\ncargo run -p bench --release -- row {} --seconds {}\n```\n",
        row.name, scope.seconds
    );
    let _ = writeln!(
        text,
        "| contestant | {} (median) | stack | client |",
        label(row.figure)
    );
    text.push_str("|---|---|---|---|\n");
    for contestant in &row.contestants {
        let mut of_this = samples
            .iter()
            .rev()
            .filter(|sample| sample.contestant == contestant.name);
        let Some(last) = of_this.next() else {
            let _ = writeln!(text, "| {} | left out | | |", contestant.name);
            continue;
        };
        let values = counting.iter().filter_map(|round| {
            let figures = round.get(contestant.name)?.as_ref().ok()?;
            figures.get(row.figure).copied()
        });
        let middle = median(&values.collect::<Vec<_>>());
        let _ = writeln!(
            text,
            "| {} | {} | `{}` | `{}` |",
            contestant.name,
            middle.map_or_else(|| "—".to_owned(), number),
            without_path(&last.stack),
            without_path(&last.client),
        );
    }
    raw(text, &samples);
}

/// A command line whose paths are cut to what they end with: where a tree lies says nothing.
fn without_path(command: &str) -> String {
    let words = command.split(' ').map(|word| {
        if word.starts_with('/') {
            word.rsplit('/').next().unwrap_or(word)
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn raw(text: &mut String, samples: &[&Sample]) {
    if samples.is_empty() {
        return;
    }
    text.push_str("\n<details><summary>raw output</summary>\n\n```text\n");
    let numbers: BTreeSet<u32> = samples.iter().map(|sample| sample.round).collect();
    for round in numbers {
        for sample in samples.iter().filter(|sample| sample.round == round) {
            let _ = writeln!(
                text,
                "round {round}, {}: {}",
                sample.contestant,
                words(&sample.outcome)
            );
        }
    }
    text.push_str("```\n\n</details>\n");
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Figures(figures) => {
            let figures = figures
                .iter()
                .map(|(name, value)| format!("{name} {value:.3}"));
            figures.collect::<Vec<_>>().join(", ")
        }
        Outcome::Text { text, .. } => format!("\n{text}"),
        Outcome::Failed(why) => format!("failed: {}", without_path(why)),
        Outcome::NotMeasured(why) => format!("not measured: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures;
    use crate::table::row;
    use std::collections::BTreeMap;

    fn entries(build: &str, outcome: impl Fn(u32, &str) -> Outcome) -> Vec<Entry> {
        let machine = Machine {
            cpu: "a CPU".to_owned(),
            cpus: 2,
            kernel: "Linux 6".to_owned(),
            build: build.to_owned(),
            versions: [("smoltcp".to_owned(), "0.14.0".to_owned())].into(),
            sysctls: BTreeMap::new(),
        };
        let mut entries = vec![Entry::Machine(machine)];
        for round in 1..=6 {
            for contestant in row("round-trips").expect("the row").contestants {
                entries.push(Entry::Sample(Sample {
                    row: "round-trips".to_owned(),
                    round,
                    contestant: contestant.name.to_owned(),
                    build: build.to_owned(),
                    seconds: 3.0,
                    at: 0,
                    stack: format!("/home/x/target/release/{}", contestant.name),
                    client: "load rr".to_owned(),
                    outcome: outcome(round, contestant.name),
                }));
            }
        }
        entries
    }

    fn p50(value: f64) -> Outcome {
        Outcome::Figures(figures([("p50_us", value)]))
    }

    fn line<'a>(report: &'a str, start: &str) -> &'a str {
        report
            .lines()
            .find(|line| line.starts_with(start))
            .expect(start)
    }

    #[test]
    fn the_report_says_what_was_asked_what_came_and_how_to_see_it_again() {
        // The sixth round is a disturbed one.
        let entries = entries("b1", |round, name| match (round, name) {
            (6, "probe") => p50(80.0),
            (_, "ustack") => p50(51.0),
            _ => p50(50.0),
        });
        let report = markdown(&entries).expect("a report");
        let verdict = line(&report, "| round-trips |");
        for words in [
            "p50 of ustack: ≤ 1.05 × probe",
            "**1.02** ×",
            "5 of 6",
            "| pass |",
        ] {
            assert!(verdict.contains(words), "{words}: {verdict}");
        }
        assert!(line(&report, "| bulk-up |").contains("not measured yet"));
        for words in [
            "- smoltcp: 0.14.0",
            "row round-trips --seconds 3",
            "| ustack | 51.0 | `ustack` | `load rr` |",
            "round 6, probe: p50_us 80.000",
        ] {
            assert!(report.contains(words), "{words}:\n{report}");
        }
    }

    #[test]
    fn only_the_last_build_is_reported() {
        let mut all = entries("b1", |_, _| p50(50.0));
        all.extend(entries("b2", |_, name| {
            p50(if name == "ustack" { 60.0 } else { 50.0 })
        }));
        let report = markdown(&all).expect("a report");
        assert!(report.contains("`b2`") && !report.contains("`b1`"));
        let verdict = line(&report, "| round-trips |");
        assert!(
            verdict.contains("**1.20** ×") && verdict.contains("FAIL"),
            "{verdict}"
        );
    }

    #[test]
    fn what_could_not_be_measured_says_why() {
        let entries = entries("b1", |_, name| match name {
            "ustack" => Outcome::NotMeasured("this ustack has no such flag".to_owned()),
            _ => p50(50.0),
        });
        let rows = [row("round-trips").expect("the row")];
        let table = verdicts(&entries, &rows).expect("a table");
        let verdict = line(&table, "| round-trips |");
        assert!(
            verdict.contains("not measured: ustack: this ustack has no such flag"),
            "{verdict}"
        );
        assert!(verdicts(&[], &rows).is_err(), "nothing was measured");
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let texts = [0.0, 0.954, 9.5, 51.27, 12_345.6].map(number);
        assert_eq!(texts, ["0", "0.95", "9.50", "51.3", "12346"]);
    }
}
