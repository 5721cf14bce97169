//! The counts that were accepted, in `baseline.toml`, and what has become of them since.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

use serde::Deserialize;

/// Growth that passes without a word.
pub const TOLERANCE: f64 = 0.05;

/// Allocations per unit that round to none.
const NO_ALLOCATION: f64 = 0.000_5;

/// The command that makes the file anew.
pub const ACCEPT: &str = "cargo bench -p core-bench -- counts --accept";

/// Counts per unit of a row, for one subject.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Counts {
    /// Instructions.
    pub instructions: f64,
    /// Allocations.
    pub allocations: f64,
}

/// Counts by row and subject, and what they were made with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct Baseline {
    /// `rustc --version`.
    pub rustc: String,
    /// `valgrind --version`.
    pub valgrind: String,
    /// The counts.
    pub counts: BTreeMap<String, BTreeMap<String, Counts>>,
}

/// How a count differs from the one accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It grew: in words.
    Worse(String),
    /// It fell by more than the tolerance: in words.
    Better(String),
}

impl Baseline {
    fn path() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.toml"))
    }

    /// The accepted counts.
    pub fn load() -> io::Result<Self> {
        let text = fs::read_to_string(Self::path())?;
        toml::from_str(&text).map_err(io::Error::other)
    }

    /// Accepts these.
    pub fn store(&self) -> io::Result<()> {
        fs::write(Self::path(), self.to_text())
    }

    /// The file, a line for each row and subject.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# Counts per unit. Made by `{ACCEPT}`.\n\nrustc = \"{}\"\nvalgrind = \"{}\"\n",
            self.rustc, self.valgrind
        );
        for (row, subjects) in &self.counts {
            let _ = write!(text, "\n[counts.{row}]\n");
            for (subject, counts) in subjects {
                let _ = writeln!(
                    text,
                    "{subject:7} = {{ instructions = {:.1}, allocations = {:.3} }}",
                    counts.instructions, counts.allocations
                );
            }
        }
        text
    }

    /// Counts of one row and subject.
    pub fn get(&self, row: &str, subject: &str) -> Option<Counts> {
        self.counts.get(row)?.get(subject).copied()
    }

    /// What differs in `now`. Rows that `now` lacks were not measured; smoltcp's are nobody's
    /// fault, and only tell that compiler or libraries are others.
    pub fn compare(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (row, subjects) in &now.counts {
            for (subject, new) in subjects.iter().filter(|(subject, _)| *subject != "smoltcp") {
                match self.get(row, subject) {
                    None => changes.push(Change::Worse(format!(
                        "{row} {subject}: not in the baseline"
                    ))),
                    Some(old) => changes.extend(change(&format!("{row} {subject}"), old, *new)),
                }
            }
        }
        changes
    }

    /// How far smoltcp's instructions moved at most: what has changed besides ustack.
    pub fn drift(&self, now: &Self) -> f64 {
        let pairs = now.counts.iter().filter_map(|(row, subjects)| {
            let old = self.get(row, "smoltcp")?;
            Some(subjects.get("smoltcp")?.instructions / old.instructions - 1.0)
        });
        pairs.fold(0.0, |most: f64, drift| {
            if drift.abs() > most.abs() {
                drift
            } else {
                most
            }
        })
    }
}

fn change(name: &str, old: Counts, new: Counts) -> Vec<Change> {
    let mut changes = Vec::new();
    let kinds = [
        ("instructions", old.instructions, new.instructions, 0.05),
        (
            "allocations",
            old.allocations,
            new.allocations,
            NO_ALLOCATION,
        ),
    ];
    for (kind, old, new, slack) in kinds {
        let words = || {
            let percent = if old > 0.0 {
                format!(" ({:+.1} %)", 100.0 * (new / old - 1.0))
            } else {
                String::new()
            };
            format!("{name}: {old} {kind} per unit were accepted, now {new:.3}{percent}")
        };
        if new > old * (1.0 + TOLERANCE) + slack {
            changes.push(Change::Worse(words()));
        } else if new < old * (1.0 - TOLERANCE) - slack {
            changes.push(Change::Better(words()));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(instructions: f64, allocations: f64) -> Baseline {
        let counts = Counts {
            instructions,
            allocations,
        };
        let subjects = [("tcp", counts), ("smoltcp", counts)];
        let subjects = subjects.map(|(name, counts)| (name.to_owned(), counts));
        Baseline {
            rustc: "1".into(),
            valgrind: "2".into(),
            counts: [("bulk-in".to_owned(), subjects.into())].into(),
        }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let written = baseline(1234.5, 0.125);
        assert_eq!(
            toml::from_str::<Baseline>(&written.to_text()).unwrap(),
            written
        );
    }

    #[test]
    fn growth_beyond_the_tolerance_is_told() {
        let old = baseline(1000.0, 0.0);
        assert_eq!(old.compare(&baseline(1049.0, 0.0)), []);
        let [Change::Worse(words)] = &old.compare(&baseline(1051.0, 0.0))[..] else {
            panic!("5.1 % more");
        };
        assert!(
            words.contains("bulk-in tcp") && words.contains("+5.1 %"),
            "{words}"
        );
        let [Change::Better(_)] = old.compare(&baseline(900.0, 0.0))[..] else {
            panic!("10 % less");
        };
    }

    #[test]
    fn one_allocation_in_a_thousand_units_is_told_where_none_was() {
        let changes = baseline(1000.0, 0.0).compare(&baseline(1000.0, 0.001));
        assert!(matches!(changes[..], [Change::Worse(_)]), "{changes:?}");
    }

    #[test]
    fn a_row_that_nobody_accepted_is_told() {
        let changes = Baseline::default().compare(&baseline(1000.0, 0.0));
        assert!(matches!(changes[..], [Change::Worse(_)]), "{changes:?}");
    }

    #[test]
    fn the_peer_tells_that_the_compiler_is_another() {
        let drift = baseline(1000.0, 0.0).drift(&baseline(900.0, 0.0));
        assert!((drift + 0.1).abs() < 1e-9);
    }
}
