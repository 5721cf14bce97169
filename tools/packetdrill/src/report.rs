//! What came of a script.

use std::fmt;

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every line came true.
    Passed,
    /// The first line that did not.
    Failed {
        /// The line of the script.
        line: usize,
        /// What differs.
        reason: String,
    },
    /// The script needs something that is not there.
    NotRunnable {
        /// The line of the script.
        line: usize,
        /// What it needs.
        reason: String,
    },
}

/// One row of the table of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line of the script; 0 for what no line asked for.
    pub line: usize,
    /// When, in nanoseconds since the script's start.
    pub at: i64,
    /// `<`, `>`, or a blank for calls.
    pub way: char,
    /// What the script says.
    pub wanted: String,
    /// What happened.
    pub got: String,
}

/// What came of a script, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The outcome.
    pub verdict: Verdict,
    /// What happened, in order.
    pub rows: Vec<Row>,
    /// What was taken differently from how the script says it.
    pub notes: Vec<String>,
    /// The host's own initial sequence number in the script's first connection.
    pub isn: Option<u32>,
}

impl Report {
    /// Whether the script passed.
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }
}

/// Rows shown before the one that failed.
const SHOWN: usize = 12;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Passed => writeln!(f, "passed")?,
            Verdict::NotRunnable { line, reason } => {
                writeln!(f, "not runnable: line {line}: {reason}")?;
            }
            Verdict::Failed { line, reason } => {
                writeln!(f, "failed: line {line}: {reason}")?;
                let from = self.rows.len().saturating_sub(SHOWN);
                let rows = &self.rows[from..];
                let width = rows.iter().map(|row| row.wanted.len()).max().unwrap_or(0);
                writeln!(f, "  line      time   {:width$}   happened", "script")?;
                for row in rows {
                    let seconds = row.at as f64 / 1e9;
                    let got = if row.got == row.wanted {
                        "same"
                    } else {
                        &row.got
                    };
                    let line = match row.line {
                        0 => String::new(),
                        line => line.to_string(),
                    };
                    writeln!(
                        f,
                        "  {line:>4} {seconds:>9.4} {} {:width$}   {got}",
                        row.way, row.wanted
                    )?;
                }
            }
        }
        Ok(())
    }
}
