//! Experiments as TOML files: read, changed by `--set`, spread over their sweep.

mod build;
mod error;
mod flow;
mod sections;
mod set;

use toml::{Table, Value};

pub use self::error::FileError;
use self::error::Problem;
use self::sections::{File, Keys, SweepTable};
use crate::recording::Plot;
use crate::scenario::Scenario;

/// Runs of one experiment at most.
const MAX_RUNS: usize = 10_000;

/// An experiment, as its file describes it.
#[derive(Clone, Debug)]
pub struct Experiment {
    text: String,
    document: Table,
    file: File,
    /// What `--set` changed, to be told again.
    settings: Vec<(String, String)>,
}

/// One run of an experiment.
#[derive(Clone, Debug)]
pub struct Point {
    /// Values of the sweep's axes, by the axes' names.
    pub params: Vec<(String, String)>,
    /// Its seed.
    pub seed: u64,
    /// What to run.
    pub scenario: Scenario,
}

impl Experiment {
    /// Reads a file; every run of its sweep is checked.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let file: File =
            toml::from_str(text).map_err(|error| FileError::from_toml(text, &error))?;
        let document = text
            .parse::<Table>()
            .map_err(|error| FileError::from_toml(text, &error))?;
        let experiment = Self {
            text: text.to_owned(),
            document,
            file,
            settings: Vec::new(),
        };
        experiment.points()?;
        Ok(experiment)
    }

    /// Changes the value of a key, or the values of an axis of the sweep (separated by commas).
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), FileError> {
        let mut changed = self.clone();
        changed.settings.push((key.to_owned(), text.to_owned()));
        match self.file.sweep.iter().position(|axis| axis.name == key) {
            Some(axis) => changed.restrict(axis, text),
            None => set::set(&mut changed.document, key, &set::value(text)),
        }
        .map_err(|problem| self.locate(problem))?;
        changed.file = read(&changed.document, key, text)?;
        changed.points()?;
        *self = changed;
        Ok(())
    }

    /// Keeps those values of an axis that are named, or takes new ones.
    fn restrict(&mut self, axis: usize, text: &str) -> Result<(), Problem> {
        let table = &self.file.sweep[axis];
        let labels = labels(table)?;
        let (mut values, mut kept) = (Vec::new(), Vec::new());
        for word in text.split(',').map(str::trim) {
            let known = labels.iter().position(|label| label == word);
            let value = known.map_or_else(|| set::value(word), |at| table.values[at].clone());
            values.push(value);
            kept.push(Value::String(word.to_owned()));
        }
        let axes = self.document.get_mut("sweep").and_then(Value::as_array_mut);
        let axis = axes.and_then(|axes| axes.get_mut(axis));
        if let Some(axis) = axis.and_then(Value::as_table_mut) {
            axis.insert("values".into(), Value::Array(values));
            axis.insert("labels".into(), Value::Array(kept));
        }
        Ok(())
    }

    /// The runs, in the order of the sweep: the last axis turns fastest.
    pub fn points(&self) -> Result<Vec<Point>, FileError> {
        let mut points = vec![(Vec::new(), self.document.clone())];
        for axis in &self.file.sweep {
            let steps = steps(axis).map_err(|problem| self.locate(problem))?;
            if points.len().saturating_mul(steps.len()) > MAX_RUNS {
                let message = format!("the sweep has more than {MAX_RUNS} runs");
                return Err(self.locate(Problem::new(format!("sweep.{}", axis.name), message)));
            }
            let mut spread = Vec::with_capacity(points.len() * steps.len());
            for (params, document) in &points {
                for (label, changes) in &steps {
                    let mut document = document.clone();
                    for (key, value) in changes {
                        set::set(&mut document, key, value)
                            .map_err(|problem| self.locate(problem))?;
                    }
                    let mut params = params.clone();
                    params.push((axis.name.clone(), label.clone()));
                    spread.push((params, document));
                }
            }
            points = spread;
        }
        let points = points.into_iter();
        points
            .map(|(params, document)| self.point(params, &document))
            .collect()
    }

    fn point(&self, params: Vec<(String, String)>, document: &Table) -> Result<Point, FileError> {
        let words: Vec<_> = params
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let file = read(document, "sweep", &words.join(" "))?;
        let scenario = build::build(&file).map_err(|problem| self.locate(problem))?;
        Ok(Point {
            params,
            seed: file.experiment.seed,
            scenario,
        })
    }

    fn locate(&self, problem: Problem) -> FileError {
        problem.locate(&self.text)
    }

    /// Its name on the command line.
    pub fn name(&self) -> &str {
        &self.file.experiment.name
    }

    /// One line about it.
    pub fn title(&self) -> &str {
        &self.file.experiment.title
    }

    /// What it shows.
    pub fn about(&self) -> &str {
        &self.file.experiment.about
    }

    /// The seed of its runs, where the sweep does not change it.
    pub fn seed(&self) -> u64 {
        self.file.experiment.seed
    }

    /// What `--set` changed.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// What the file wants plotted.
    pub fn plots(&self) -> &[Plot] {
        &self.file.report.plot
    }

    /// The columns of the table of flows that the file wants.
    pub fn columns(&self) -> Option<&[String]> {
        self.file.report.columns.as_deref()
    }
}

/// A document that was changed under way; `key` and `text` are the change.
fn read(document: &Table, key: &str, text: &str) -> Result<File, FileError> {
    let file = Value::Table(document.clone()).try_into::<File>();
    file.map_err(|error| {
        let what = error.message();
        FileError::plain(format!("with {key} = {text}: {what}"))
    })
}

/// The labels of an axis.
fn labels(axis: &SweepTable) -> Result<Vec<String>, Problem> {
    match &axis.labels {
        Some(labels) if labels.len() != axis.values.len() => Err(Problem::new(
            format!("sweep.{}.labels", axis.name),
            format!("{} labels for {} values", labels.len(), axis.values.len()),
        )),
        Some(labels) => Ok(labels.clone()),
        None => Ok(axis.values.iter().map(set::label).collect()),
    }
}

/// A label, and the keys that change with it.
type AxisStep = (String, Vec<(String, Value)>);

fn steps(axis: &SweepTable) -> Result<Vec<AxisStep>, Problem> {
    if axis.values.is_empty() {
        let message = "an axis has one value at least";
        return Err(Problem::new(format!("sweep.{}.values", axis.name), message));
    }
    let labels = labels(axis)?;
    let steps = labels.into_iter().zip(&axis.values);
    steps
        .map(|(label, value)| Ok((label, changes(axis, value)?)))
        .collect()
}

fn changes(axis: &SweepTable, value: &Value) -> Result<Vec<(String, Value)>, Problem> {
    match (&axis.set, value) {
        (Keys::One(key), value) => Ok(vec![(key.clone(), value.clone())]),
        (Keys::Several(keys), Value::Array(values)) if keys.len() == values.len() => {
            Ok(keys.iter().cloned().zip(values.iter().cloned()).collect())
        }
        // One value for all keys.
        (Keys::Several(keys), value) if !value.is_array() => Ok(keys
            .iter()
            .map(|key| (key.clone(), value.clone()))
            .collect()),
        (Keys::Several(keys), _) => Err(Problem::new(
            format!("sweep.{}.values", axis.name),
            format!("each is one value, or a list of {} like `set`", keys.len()),
        )),
    }
}

#[cfg(test)]
mod tests;
