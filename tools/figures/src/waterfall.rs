//! Waterfalls: what happened when, as horizontal bars.

use crate::axis::{Axis, Fit, Placement};
use crate::canvas::{Anchor, Canvas, fitted, text_width};
use crate::draw::{PAD, RIGHT, Sample, WIDTH, horizontal_axis, legend, title};
use crate::theme::COLOURS;

/// Height of a row, in pixels.
const ROW: f64 = 24.0;

/// Rows of bars over one horizontal axis.
#[derive(Clone, Debug, Default)]
pub struct Waterfall {
    /// The heading.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// Names of the kinds of spans, for the legend.
    pub kinds: Vec<String>,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

impl Waterfall {
    /// A waterfall without bars.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        x: Axis,
        kinds: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            x,
            kinds: kinds.into_iter().map(Into::into).collect(),
            bars: Vec::new(),
        }
    }

    /// Adds a row below the others.
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// The waterfall as an SVG file, for a document.
    pub fn to_svg(&self) -> String {
        let (canvas, height) = self.draw();
        canvas.into_file(height, &self.title)
    }

    /// The waterfall as an element of a page.
    pub(crate) fn to_element(&self) -> String {
        let (canvas, height) = self.draw();
        canvas.into_element(height, &self.title)
    }

    fn draw(&self) -> (Canvas, f64) {
        let mut canvas = Canvas::new(WIDTH);
        let labels = self.bars.iter().map(|bar| text_width(&bar.label));
        let left = labels.fold(60.0, f64::max).min(300.0) + 14.0;
        let notes = self.bars.iter().map(|bar| text_width(&bar.note) + 10.0);
        let right = WIDTH - notes.fold(RIGHT, f64::max).min(200.0);
        let sides = (left, right);

        let top = PAD + title(&mut canvas, &self.title);
        let kinds = self.kinds.iter().enumerate();
        let entries: Vec<_> = kinds
            .map(|(kind, name)| (name.clone(), Sample::Box(kind)))
            .collect();
        let top = legend(&mut canvas, &entries, (PAD - 8.0, PAD - 8.0), top + 8.0) + 4.0;
        let bottom = top + ROW * self.bars.len() as f64;

        let spans = self.bars.iter().flat_map(|bar| &bar.spans);
        let values = spans.flat_map(|span| [span.from, span.to]).chain([0.0]);
        let x = Placement::new(&self.x, values, sides, 85.0, Fit::Data);
        for place in x.ticks.iter().filter_map(|(value, _)| x.place(*value)) {
            canvas.line(&[(place, top), (place, bottom)], "grid");
        }
        for (row, bar) in self.bars.iter().enumerate() {
            bar.draw(&mut canvas, &x, left, top + ROW * row as f64);
        }
        canvas.line(&[(left, bottom), (right, bottom)], "axis");
        let height = horizontal_axis(&mut canvas, &self.x, &x, sides, bottom) + PAD;
        (canvas, height)
    }
}

/// One row. A row without spans is a heading for those below it.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// What the row shows.
    pub label: String,
    /// Its parts.
    pub spans: Vec<Span>,
    /// A few words behind the last part, as the sum.
    pub note: String,
}

impl Bar {
    /// A row without parts.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..Self::default()
        }
    }

    /// Adds a part.
    pub fn span(mut self, kind: usize, from: f64, to: f64) -> Self {
        self.spans.push(Span { kind, from, to });
        self
    }

    /// Sets the words behind the last part.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn draw(&self, canvas: &mut Canvas, x: &Placement, left: f64, top: f64) {
        let middle = top + ROW / 2.0;
        if self.spans.is_empty() {
            let label = fitted(&self.label, WIDTH - 2.0 * PAD);
            return canvas.text((PAD, middle + 2.0), Anchor::Start, "y", &label);
        }
        let label = fitted(&self.label, left - 14.0);
        canvas.text((left - 8.0, middle), Anchor::End, "", &label);
        let mut end = left;
        for span in &self.spans {
            let (Some(from), Some(to)) = (x.place(span.from), x.place(span.to)) else {
                continue;
            };
            let class = format!("f{} bar", span.kind % COLOURS);
            canvas.rectangle((from, top + 4.0), (to - from, ROW - 8.0), &class);
            end = end.max(to);
        }
        canvas.text((end + 6.0, middle), Anchor::Start, "muted", &self.note);
    }
}

/// A part of a row.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Which of the waterfall's kinds it is.
    pub kind: usize,
    /// Where it begins, on the horizontal axis.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
}
