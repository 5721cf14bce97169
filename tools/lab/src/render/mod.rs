//! From a recording to its report: tables, the plots that the file asks for, then each run over
//! time.

mod dimension;
mod distribution;
mod quantity;
mod summary;
#[cfg(test)]
mod tests;
mod timeline;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use self::dimension::axes;
use crate::recording::{Plot, PlotKind, Recording};
use figures::{Block, Report, Section, Table};

/// Runs of a sweep that are drawn over time; the values of the others are in the CSV files.
const DRAWN_RUNS: usize = 12;
/// Runs up to which all are shown unfolded.
const UNFOLDED_RUNS: usize = 3;
/// Rows from which on a table is folded.
const LONG_TABLE: usize = 40;
/// Figures that one plot of the file may become.
const MAX_FIGURES: usize = 24;

/// The page of an experiment that has run.
pub fn from_recording(recording: &Recording) -> Report {
    let mut report = Report {
        title: if recording.title.is_empty() {
            recording.name.clone()
        } else {
            recording.title.clone()
        },
        about: recording.about.clone(),
        command: recording.command.clone(),
        parameters: parameters(recording),
        sections: Vec::new(),
    };
    let results = results(recording);
    if !results.blocks.is_empty() {
        report.sections.push(results);
    }
    report.sections.extend(tables(recording));
    report.sections.extend(runs(recording));
    report
}

/// Writes the page, and its figures of results as files of their own, called by experiment and
/// title; returns the files.
pub fn write(directory: &Path, recording: &Recording) -> io::Result<Vec<PathBuf>> {
    let report = from_recording(recording);
    let page = directory.join(format!("{}.html", recording.name));
    fs::write(&page, report.to_html())?;
    let mut files = vec![page];
    let blocks = report.sections.first().map(|results| &results.blocks);
    for block in blocks.into_iter().flatten() {
        let Some((title, figure)) = block.to_svg() else {
            continue;
        };
        let stem = format!("{}-{}", recording.name, slug(title));
        let mut file = directory.join(format!("{stem}.svg"));
        for number in 2.. {
            if !files.contains(&file) {
                break;
            }
            file = directory.join(format!("{stem}-{number}.svg"));
        }
        fs::write(&file, figure)?;
        files.push(file);
    }
    Ok(files)
}

/// A title as part of a file's name.
fn slug(title: &str) -> String {
    let lower = title.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

fn parameters(recording: &Recording) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("experiment".to_owned(), recording.name.clone()),
        ("seed".to_owned(), recording.seed.to_string()),
    ];
    if let Some(run) = recording.runs.first() {
        parameters.push(("simulated".to_owned(), format!("{} s a run", run.duration)));
    }
    for axis in axes(recording) {
        parameters.push((axis.name.to_owned(), axis.values.join(", ")));
    }
    if recording.runs.len() > 1 {
        parameters.push(("runs".to_owned(), recording.runs.len().to_string()));
    }
    parameters
}

/// The figures that the file asks for.
fn results(recording: &Recording) -> Section {
    let mut section = Section::new("Results");
    let by_default: Vec<_> = default_plot(recording).into_iter().collect();
    let plots = if recording.plots.is_empty() {
        &by_default
    } else {
        &recording.plots
    };
    for plot in plots {
        let mut figures = self::plot(recording, plot);
        let left_out = figures.len().saturating_sub(MAX_FIGURES);
        figures.truncate(MAX_FIGURES);
        section.blocks.extend(figures);
        if left_out > 0 {
            let note = format!("{left_out} more of these figures are not drawn.");
            section.blocks.push(Block::Text(note));
        }
    }
    section
}

/// A section for each table, folded when it is long.
fn tables(recording: &Recording) -> impl Iterator<Item = Section> {
    recording.tables.iter().map(|table| Section {
        title: table.title.clone(),
        collapsed: table.rows.len() > LONG_TABLE,
        blocks: vec![Block::Table(Table {
            columns: table.columns.clone(),
            rows: table.rows.clone(),
            ..Table::default()
        })],
    })
}

fn plot(recording: &Recording, plot: &Plot) -> Vec<Block> {
    match plot.kind {
        PlotKind::Time => timeline::asked_for(recording, plot),
        PlotKind::Xy => summary::lines(recording, plot),
        PlotKind::Bars => summary::bars(recording, plot),
        PlotKind::Cdf => distribution::delays(recording, plot),
        PlotKind::Messages => distribution::each(recording, plot),
        PlotKind::Waterfall => summary::waterfall(recording, plot),
    }
}

/// What a sweep shows when its file does not say: goodput against the first axis of numbers.
fn default_plot(recording: &Recording) -> Option<Plot> {
    let axes = axes(recording);
    let x = axes.iter().find(|axis| axis.numbers().is_some())?;
    let by = axes.iter().find(|axis| axis.name != x.name);
    Some(Plot {
        title: format!("Goodput against {}", x.name),
        kind: PlotKind::Xy,
        series: Vec::new(),
        x: Some(x.name.to_owned()),
        y: Some("goodput".to_owned()),
        by: Some(by.map_or("flow", |axis| axis.name).to_owned()),
        log_x: false,
        log_y: false,
    })
}

/// A section for each run, folded when there are several.
fn runs(recording: &Recording) -> Vec<Section> {
    let recorded = recording.runs.iter().filter(|run| !run.series.is_empty());
    let mut sections: Vec<_> = recorded
        .clone()
        .take(DRAWN_RUNS)
        .map(|run| {
            let mut title = "Over time".to_owned();
            if !run.label.is_empty() {
                let _ = write!(title, ": {}", run.label);
            }
            Section {
                title,
                collapsed: recording.runs.len() > UNFOLDED_RUNS,
                blocks: vec![timeline::whole(run).into()],
            }
        })
        .collect();
    let left_out = recorded.count().saturating_sub(DRAWN_RUNS);
    if left_out > 0 {
        let note =
            format!("{left_out} more runs are not drawn; their values are in the CSV files.");
        sections.push(Section::default().block(Block::Text(note)));
    }
    sections
}
