//! A sheet to draw on, in pixels from the upper left corner, and its text as SVG.

use svg::node::element::{Circle, Group, Path, Polygon, Polyline, Rectangle, Style, Text, Title};
use svg::{Document, Node};

use crate::theme;

/// Height of a line of text, in pixels.
pub(crate) const LINE: f64 = 17.0;

/// Which end of a text its place is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A growing drawing.
#[derive(Debug)]
pub(crate) struct Canvas {
    width: f64,
    sheet: Group,
}

impl Canvas {
    pub(crate) fn new(width: f64) -> Self {
        Self {
            width,
            sheet: Group::new(),
        }
    }

    pub(crate) fn width(&self) -> f64 {
        self.width
    }

    /// A line of text whose middle is at height `y`.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = Text::new(text)
            .set("x", short(x))
            .set("y", short(y + 4.0))
            .set("text-anchor", anchor);
        self.add(with_class(text, class));
    }

    /// Straight lines from point to point; one point alone is a dot.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        if let [(x, y)] = points {
            let colour = class
                .split(' ')
                .next()
                .unwrap_or_default()
                .replace('l', "f");
            return self.circle((*x, *y), 3.0, &colour);
        }
        self.add(with_class(
            Polyline::new().set("points", joined(points)),
            class,
        ));
    }

    /// Upright bars, each with its place, its upper and its lower end, as one element.
    pub(crate) fn bars(&mut self, bars: &[(f64, f64, f64)], class: &str) {
        let pieces: Vec<_> = bars
            .iter()
            .map(|(x, upper, lower)| format!("M{},{}V{}", short(*x), short(*upper), short(*lower)))
            .collect();
        self.add(with_class(Path::new().set("d", pieces.concat()), class));
    }

    pub(crate) fn polygon(&mut self, points: &[(f64, f64)], class: &str) {
        self.add(with_class(
            Polygon::new().set("points", joined(points)),
            class,
        ));
    }

    pub(crate) fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let circle = Circle::new()
            .set("cx", short(x))
            .set("cy", short(y))
            .set("r", radius);
        self.add(with_class(circle, class));
    }

    pub(crate) fn rectangle(&mut self, from: (f64, f64), size: (f64, f64), class: &str) {
        self.add(with_class(rectangle(from, size), class));
    }

    /// The drawing as an `svg` element of a page. `title` is for those who do not see it.
    pub(crate) fn into_element(self, height: f64, title: &str) -> String {
        let frame = self.frame(height, title);
        self.fill(frame, height).to_string()
    }

    /// The drawing as a file of its own.
    pub(crate) fn into_file(self, height: f64, title: &str) -> String {
        let frame = self.frame(height, title);
        let frame = frame.add(Style::new(theme::figures()));
        format!("{}\n", self.fill(frame, height))
    }

    fn frame(&self, height: f64, title: &str) -> Document {
        let (width, height) = (self.width, height.ceil());
        Document::new()
            .set("class", "fig")
            .set("role", "img")
            .set("width", width)
            .set("height", height)
            .set("viewBox", format!("0 0 {width} {height}"))
            .add(Title::new(title))
    }

    fn fill(self, frame: Document, height: f64) -> Document {
        let paper = rectangle((0.0, 0.0), (self.width, height.ceil())).set("rx", 6);
        frame.add(with_class(paper, "paper")).add(self.sheet)
    }

    fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.sheet.append(node);
    }
}

/// About how wide `text` is set, in pixels. Fonts differ: this is on the generous side.
pub(crate) fn text_width(text: &str) -> f64 {
    let wide = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | 'I' | '.' | ',' | ':' | '|' | '\'' | '(' | ')'
        | ' ' | '/' => 4.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '→' | '—' => 11.0,
        'A'..='Z' => 8.6,
        _ => 7.2,
    };
    text.chars().map(wide).sum()
}

/// `text`, shortened to `width` pixels.
pub(crate) fn fitted(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if text_width(&short) + 20.0 > width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

fn rectangle((x, y): (f64, f64), (width, height): (f64, f64)) -> Rectangle {
    Rectangle::new()
        .set("x", short(x))
        .set("y", short(y))
        .set("width", short(width.max(0.0)))
        .set("height", short(height.max(0.0)))
}

fn with_class<T: Node>(mut node: T, class: &str) -> T {
    if !class.is_empty() {
        node.assign("class", class);
    }
    node
}

fn joined(points: &[(f64, f64)]) -> String {
    let pairs: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{},{}", short(*x), short(*y)))
        .collect();
    pairs.join(" ")
}

/// To a tenth of a pixel.
fn short(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
