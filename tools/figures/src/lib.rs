//! Charts and tables as one self-contained HTML file with inline SVG, and single figures as SVG files
//! for documents: the reports of `lab`, and `ustack plot`.
//!
//! The types here are plain data and know nothing of what they show:
//!
//! ```
//! use figures::{Axis, Block, Chart, Line, Panel, Report, Section};
//!
//! let cwnd = Line::new("cwnd", vec![(0.0, 14.6), (0.1, 29.2), (0.2, 58.4)]);
//! let chart = Chart::new("Slow start", Axis::new("time", "s"))
//!     .panel(Panel::new(Axis::new("window", "kB")).line(cwnd));
//! let report = Report::new("slow-start", "lab run slow-start --seed 1")
//!     .section(Section::new("One flow").block(Block::from(chart)));
//! assert!(report.to_html().contains("<svg"));
//! ```
//!
//! Colours are those of Okabe and Ito, darkened where white paper swallows them, so that they stay
//! apart for colour-blind readers; every figure has a light and a dark face and prints in the
//! light one. Long lines are thinned to the least and greatest value per column of pixels, which
//! looks the same and keeps the file of a large sweep small.

mod axis;
mod canvas;
mod chart;
mod decimate;
mod draw;
mod html;
mod table;
#[cfg(test)]
mod tests;
mod theme;
mod waterfall;

pub use self::axis::{Axis, Scale};
pub use self::chart::{Chart, EventTrack, Line, Marker, Panel, Stroke};
pub use self::table::Table;
pub use self::waterfall::{Bar, Span, Waterfall};

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// What it shows, in plain words; an empty line begins a new paragraph.
    pub about: String,
    /// What to type to get the same page again.
    pub command: String,
    /// Name and value of everything that decided the outcome, the seed among them.
    pub parameters: Vec<(String, String)>,
    /// The outcome.
    pub sections: Vec<Section>,
}

impl Report {
    /// A page without contents.
    pub fn new(title: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            command: command.into(),
            ..Self::default()
        }
    }

    /// Adds a section at the end.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The page: one file that needs no other. The same report gives the same bytes.
    pub fn to_html(&self) -> String {
        html::page(self)
    }
}

/// A heading and what stands below it.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// Whether the section is shown folded, as the details of a sweep's runs are.
    pub collapsed: bool,
    /// The contents, from top to bottom.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section without contents, shown unfolded.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// Shows the section folded.
    pub fn collapsed(mut self) -> Self {
        self.collapsed = true;
        self
    }

    /// Adds a block at the end.
    pub fn block(mut self, block: impl Into<Block>) -> Self {
        self.blocks.push(block.into());
        self
    }
}

/// One piece of a section.
#[derive(Clone, Debug)]
pub enum Block {
    /// Paragraphs of plain text, divided by empty lines.
    Text(String),
    /// A table.
    Table(Table),
    /// Lines over one horizontal axis.
    Chart(Chart),
    /// Horizontal bars over one horizontal axis.
    Waterfall(Waterfall),
}

impl Block {
    /// Title and SVG file of a figure.
    pub fn to_svg(&self) -> Option<(&str, String)> {
        match self {
            Self::Chart(chart) => Some((&chart.title, chart.to_svg())),
            Self::Waterfall(waterfall) => Some((&waterfall.title, waterfall.to_svg())),
            Self::Text(_) | Self::Table(_) => None,
        }
    }
}

impl From<Table> for Block {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Chart> for Block {
    fn from(chart: Chart) -> Self {
        Self::Chart(chart)
    }
}

impl From<Waterfall> for Block {
    fn from(waterfall: Waterfall) -> Self {
        Self::Waterfall(waterfall)
    }
}
