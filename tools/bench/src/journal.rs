//! What was measured, a line of JSON each, appended as it comes: runs can be taken up where they
//! stopped, and the report be written again without measuring.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, create_dir_all, read_to_string};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::judge::Round;
use crate::machine::Machine;
use crate::{Figures, during};

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// On what the samples after it were taken.
    Machine(Machine),
    /// One run.
    Sample(Sample),
}

/// One run of one contestant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The row.
    pub row: String,
    /// The round, from 1.
    pub round: u32,
    /// The contestant's name within the row.
    pub contestant: String,
    /// Which build of ustack: samples of different ones are not mixed.
    pub build: String,
    /// Seconds that were asked for: these are not mixed either.
    pub seconds: f64,
    /// When, in seconds since 1970.
    pub at: u64,
    /// What was started as the stack under test.
    pub stack: String,
    /// What was started as its client.
    pub client: String,
    /// What came out.
    pub outcome: Outcome,
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Figures.
    Figures(Figures),
    /// Figures read from these words of the client.
    Text {
        /// What was read from it.
        figures: Figures,
        /// The words.
        text: String,
    },
    /// The run failed.
    Failed(String),
    /// There was nothing to run.
    NotMeasured(String),
}

impl Outcome {
    /// The figures, or why there are none.
    pub fn figures(&self) -> Result<&Figures, &str> {
        match self {
            Self::Figures(figures) | Self::Text { figures, .. } => Ok(figures),
            Self::Failed(why) | Self::NotMeasured(why) => Err(why),
        }
    }
}

/// A file of entries.
#[derive(Debug)]
pub struct Journal {
    file: File,
    entries: Vec<Entry>,
}

impl Journal {
    /// Opens a journal, and reads what is there. A line that was cut off by the end of a run is
    /// removed.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            create_dir_all(parent).map_err(during(parent.display()))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(during(path.display()))?;
        let entries = read(path)?;
        let text = read_to_string(path)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        Ok(Self { file, entries })
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: Entry) -> io::Result<()> {
        let line = serde_json::to_string(&entry)?;
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.entries.push(entry);
        Ok(())
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Reads a journal.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let text = read_to_string(path).map_err(during(path.display()))?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(_) if number + 1 == text.lines().count() && !text.ends_with('\n') => break,
            Err(error) => {
                let place = format!("{}, line {}: {error}", path.display(), number + 1);
                return Err(io::Error::other(place));
            }
        }
    }
    Ok(entries)
}

/// The samples of a row, of one build and one length.
pub fn samples<'a>(entries: &'a [Entry], row: &str, build: &str, seconds: f64) -> Vec<&'a Sample> {
    let samples = entries.iter().filter_map(|entry| match entry {
        Entry::Sample(sample) => Some(sample),
        Entry::Machine(_) => None,
    });
    samples
        .filter(|sample| {
            sample.row == row && sample.build == build && (sample.seconds - seconds).abs() < 1e-9
        })
        .collect()
}

/// The samples as rounds, in order.
pub fn rounds(samples: &[&Sample]) -> Vec<Round> {
    let mut rounds: BTreeMap<u32, Round> = BTreeMap::new();
    for sample in samples {
        let result = sample.outcome.figures();
        let result = result.cloned().map_err(str::to_owned);
        let round = rounds.entry(sample.round).or_default();
        round.insert(sample.contestant.clone(), result);
    }
    rounds.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures;

    fn sample(round: u32, contestant: &str, outcome: Outcome) -> Sample {
        Sample {
            row: "bulk-up".to_owned(),
            round,
            contestant: contestant.to_owned(),
            build: "b1".to_owned(),
            seconds: 3.0,
            at: 1,
            stack: "ustack".to_owned(),
            client: "load up".to_owned(),
            outcome,
        }
    }

    #[test]
    fn what_is_written_is_read_again_even_if_the_last_line_is_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deeper/journal.jsonl");
        let mut journal = Journal::open(&path).expect("a journal");
        let outcomes = [
            Outcome::Figures(figures([("x", 1.25)])),
            Outcome::Failed("it died".to_owned()),
            Outcome::NotMeasured("no such flag".to_owned()),
            Outcome::Text {
                figures: figures([("y", 2.0)]),
                text: "two\nlines".to_owned(),
            },
        ];
        for (round, outcome) in (1..).zip(outcomes) {
            let entry = Entry::Sample(sample(round, "ustack", outcome));
            journal.push(entry).expect("written");
        }
        assert_eq!(read(&path).expect("read"), journal.entries());
        let text = read_to_string(&path).expect("text");
        std::fs::write(&path, &text[..text.len() - 10]).expect("cut");
        assert_eq!(read(&path).expect("read"), journal.entries()[..3]);
        let mut again = Journal::open(&path).expect("a journal");
        let entry = journal.entries()[3].clone();
        again.push(entry).expect("written");
        assert_eq!(read(&path).expect("read"), journal.entries());
        std::fs::write(&path, format!("nonsense\n{text}")).expect("spoilt");
        let error = read(&path).expect_err("nonsense");
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn builds_lengths_and_rows_are_kept_apart() {
        let figures = || Outcome::Figures(figures([("x", 1.0)]));
        let mut other_build = sample(1, "probe", figures());
        other_build.build = "b2".to_owned();
        let mut short = sample(1, "probe", figures());
        short.seconds = 0.5;
        let mut other_row = sample(1, "probe", figures());
        other_row.row = "bulk-down".to_owned();
        let entries: Vec<Entry> = [
            sample(2, "probe", figures()),
            sample(1, "probe", figures()),
            sample(1, "ustack", Outcome::Failed("why".to_owned())),
            other_build,
            short,
            other_row,
        ]
        .map(Entry::Sample)
        .to_vec();
        let found = samples(&entries, "bulk-up", "b1", 3.0);
        assert_eq!(found.len(), 3);
        let rounds = rounds(&found);
        assert_eq!(rounds.len(), 2);
        assert_eq!(rounds[0]["ustack"], Err("why".to_owned()));
        assert_eq!(rounds[1].len(), 1);
    }
}
