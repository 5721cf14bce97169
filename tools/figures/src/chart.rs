//! Charts: panels one above the other over one horizontal axis.

use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::draw;

/// Panels over one horizontal axis, so that what happens at one moment stands in one vertical.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// The horizontal axis of all panels.
    pub x: Axis,
    /// From top to bottom.
    pub panels: Vec<Panel>,
    /// Rows of ticks below the panels.
    pub events: Vec<EventTrack>,
    /// Vertical lines through all panels.
    pub markers: Vec<Marker>,
}

impl Chart {
    /// A chart without panels.
    pub fn new(title: impl Into<String>, x: Axis) -> Self {
        Self {
            title: title.into(),
            x,
            ..Self::default()
        }
    }

    /// Adds a panel below the others.
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// Adds a row of events below the others; one without events is shown as well.
    pub fn events(mut self, track: EventTrack) -> Self {
        self.events.push(track);
        self
    }

    /// Adds a vertical line with a label.
    pub fn marker(mut self, x: f64, label: impl Into<String>) -> Self {
        self.markers.push(Marker {
            x,
            label: label.into(),
        });
        self
    }

    /// The chart as an SVG file, for a document: some 100 kB at most, however long its lines are.
    pub fn to_svg(&self) -> String {
        let lines = self.panels.iter().map(|panel| panel.lines.len()).sum();
        let mut canvas = Canvas::new(draw::WIDTH);
        let height = draw::chart(&mut canvas, self, draw::column(lines, 1e5));
        canvas.into_file(height, &self.title)
    }

    /// The chart as an element of a page, with lines thinned to columns of `column` pixels.
    pub(crate) fn to_element(&self, column: f64) -> String {
        let mut canvas = Canvas::new(draw::WIDTH);
        let height = draw::chart(&mut canvas, self, column);
        canvas.into_element(height, &self.title)
    }
}

/// Lines over one vertical axis.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The vertical axis.
    pub y: Axis,
    /// The lines, the last one on top.
    pub lines: Vec<Line>,
    /// Height of the plot, in pixels.
    pub height: f64,
}

impl Panel {
    /// A panel without lines, 150 pixels high.
    pub fn new(y: Axis) -> Self {
        Self {
            y,
            lines: Vec::new(),
            height: 150.0,
        }
    }

    /// Adds a line on top of the others.
    pub fn line(mut self, line: Line) -> Self {
        self.lines.push(line);
        self
    }

    /// Sets the height of the plot, in pixels.
    pub fn height(mut self, pixels: f64) -> Self {
        self.height = pixels;
        self
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    /// From point to point.
    #[default]
    Solid,
    /// From point to point, dashed: a limit or a reference.
    Dashed,
    /// A value holds until the next point.
    Steps,
    /// From point to point, with a mark at each: few points, each measured.
    Marked,
    /// Marks alone.
    Dots,
    /// Upright bars between the two values of each pair of points: what was from where to where.
    Extents,
}

/// Values over the horizontal axis.
#[derive(Clone, Debug)]
pub struct Line {
    /// For the legend; a line without a name is not in it.
    pub name: String,
    /// Horizontal and vertical values, from left to right. A value that is not finite is a gap.
    /// [`Stroke::Extents`] takes them in pairs of one horizontal value.
    pub points: Vec<(f64, f64)>,
    /// Which colour and mark; `None` takes the place of the line in its panel. The same number
    /// has the same look in every panel.
    pub colour: Option<usize>,
    /// How it is drawn.
    pub stroke: Stroke,
}

impl Line {
    /// A solid line in the next colour of its panel.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            colour: None,
            stroke: Stroke::Solid,
        }
    }

    /// Sets the colour.
    pub fn colour(mut self, colour: usize) -> Self {
        self.colour = Some(colour);
        self
    }

    /// Sets how it is drawn.
    pub fn stroke(mut self, stroke: Stroke) -> Self {
        self.stroke = stroke;
        self
    }
}

/// Moments of one kind, as a row of ticks.
#[derive(Clone, Debug)]
pub struct EventTrack {
    /// What happened.
    pub name: String,
    /// When, on the horizontal axis.
    pub at: Vec<f64>,
    /// Which colour.
    pub colour: usize,
}

impl EventTrack {
    /// Moments in the first colour.
    pub fn new(name: impl Into<String>, at: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            at,
            colour: 0,
        }
    }

    /// Sets the colour.
    pub fn colour(mut self, colour: usize) -> Self {
        self.colour = colour;
        self
    }
}

/// A vertical line with a label: something that was done to the run.
#[derive(Clone, Debug)]
pub struct Marker {
    /// Where, on the horizontal axis.
    pub x: f64,
    /// What happened there.
    pub label: String,
}
