//! Charts on a canvas.

use crate::axis::{Axis, Fit, Placement};
use crate::canvas::{Anchor, Canvas, LINE, fitted, text_width};
use crate::chart::{Chart, EventTrack, Line, Marker, Panel, Stroke};
use crate::decimate::{decimate, merge};
use crate::theme::COLOURS;

/// Width of every figure, in pixels.
pub(crate) const WIDTH: f64 = 960.0;
/// Room at the right, for half a label.
pub(crate) const RIGHT: f64 = 26.0;
/// Space around a figure.
pub(crate) const PAD: f64 = 10.0;
/// Marks of one line that are drawn without thinning.
const MAX_MARKS: usize = 300;
/// Points of one line that are looked at; the rest of a longer one is left out.
const MAX_POINTS: usize = 4_000_000;

/// How wide the columns must be that `lines` lines are thinned to, if they are to take about
/// `bytes` bytes.
pub(crate) fn column(lines: usize, bytes: f64) -> f64 {
    // Four points of a dozen characters per column.
    let columns = bytes / (48.0 * lines.max(1) as f64);
    (WIDTH / columns).clamp(1.0, 40.0)
}

/// Draws `chart` with lines thinned to columns of `column` pixels; returns its height.
pub(crate) fn chart(canvas: &mut Canvas, chart: &Chart, column: f64) -> f64 {
    let left = left_margin(chart);
    let sides = (left, canvas.width() - RIGHT);
    let x = Placement::new(&chart.x, horizontal_values(chart), sides, 85.0, Fit::Data);

    let mut y = PAD + title(canvas, &chart.title);
    y = marker_labels(canvas, &chart.markers, &x, sides, y);
    for panel in &chart.panels {
        let lower = self::panel(canvas, panel, &x, (sides, y), column);
        marker_lines(canvas, &chart.markers, &x, (lower - panel.height, lower));
        y = lower + 12.0;
    }
    let lower = events(canvas, &chart.events, &x, sides, y);
    if !chart.events.is_empty() {
        marker_lines(canvas, &chart.markers, &x, (y, lower));
    }
    horizontal_axis(canvas, &chart.x, &x, sides, lower) + PAD
}

/// The heading, if there is one; returns the height it takes.
pub(crate) fn title(canvas: &mut Canvas, title: &str) -> f64 {
    if title.is_empty() {
        return 0.0;
    }
    // Letters of a heading are larger and bolder than those of a label.
    let text = fitted(title, (canvas.width() - RIGHT - PAD) * 0.64);
    canvas.text((PAD, PAD + 4.0), Anchor::Start, "title", &text);
    LINE + 10.0
}

/// Labels and name of the horizontal axis below `y`; returns where they end.
pub(crate) fn horizontal_axis(
    canvas: &mut Canvas,
    axis: &Axis,
    x: &Placement,
    (left, right): (f64, f64),
    y: f64,
) -> f64 {
    let mut free = f64::NEG_INFINITY;
    for (value, label) in &x.ticks {
        let Some(place) = x.place(*value) else {
            continue;
        };
        canvas.line(&[(place, y), (place, y + 4.0)], "axis");
        let half = text_width(label) / 2.0;
        if place - half > free {
            canvas.text((place, y + 13.0), Anchor::Middle, "muted", label);
            free = place + half + 4.0;
        }
    }
    let middle = f64::midpoint(left, right);
    canvas.text((middle, y + 31.0), Anchor::Middle, "", &axis.title());
    y + 40.0
}

/// A row, or rows, of samples and names from `start` on; returns where the rows end.
pub(crate) fn legend(
    canvas: &mut Canvas,
    entries: &[(String, Sample)],
    (start, wrapped): (f64, f64),
    y: f64,
) -> f64 {
    let (mut x, mut y) = (start, y);
    for (name, sample) in entries {
        let name = fitted(name, 420.0);
        let width = 28.0 + text_width(&name) + 14.0;
        if x + width > canvas.width() - PAD && x > wrapped {
            (x, y) = (wrapped, y + LINE);
        }
        match sample {
            Sample::Line(colour, stroke) => line_sample(canvas, (x, y), *colour, *stroke),
            Sample::Box(colour) => {
                canvas.rectangle(
                    (x + 8.0, y - 5.0),
                    (14.0, 10.0),
                    &format!("f{}", colour % COLOURS),
                );
            }
        }
        canvas.text((x + 28.0, y), Anchor::Start, "", &name);
        x += width;
    }
    y + LINE
}

/// What stands before a name in a legend.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample {
    Line(usize, Stroke),
    Box(usize),
}

fn line_sample(canvas: &mut Canvas, (x, y): (f64, f64), colour: usize, stroke: Stroke) {
    let class = stroke_class(colour, stroke);
    match stroke {
        Stroke::Dots => {}
        Stroke::Extents => {
            let bars: Vec<_> = (0..4)
                .map(|n| f64::from(n) * 5.0 + 3.5)
                .map(|dx| (x + dx, y + 1.0 - dx / 3.0, y + 5.0 - dx / 3.0))
                .collect();
            canvas.bars(&bars, &class);
        }
        _ => canvas.line(&[(x, y), (x + 22.0, y)], &class),
    }
    if matches!(stroke, Stroke::Dots | Stroke::Marked) {
        mark(canvas, (x + 11.0, y), colour);
    }
}

fn left_margin(chart: &Chart) -> f64 {
    let names = chart.events.iter().map(|track| text_width(&track.name));
    names.fold(50.0, f64::max).min(170.0) + 18.0
}

fn horizontal_values(chart: &Chart) -> impl Iterator<Item = f64> {
    let lines = chart.panels.iter().flat_map(|panel| &panel.lines);
    let points = lines.flat_map(|line| line.points.iter().take(MAX_POINTS).map(|point| point.0));
    points.chain(
        chart
            .events
            .iter()
            .flat_map(|track| track.at.iter().copied()),
    )
}

/// Names of vertical lines above the panels, in as many rows as keep them apart.
fn marker_labels(
    canvas: &mut Canvas,
    markers: &[Marker],
    x: &Placement,
    (left, right): (f64, f64),
    y: f64,
) -> f64 {
    let mut rows: Vec<f64> = Vec::new();
    let mut sorted: Vec<_> = markers.iter().filter(|marker| x.shows(marker.x)).collect();
    sorted.sort_by(|a, b| a.x.total_cmp(&b.x));
    for marker in sorted {
        let Some(place) = x.place(marker.x) else {
            continue;
        };
        let half = text_width(&marker.label) / 2.0;
        let middle = place.min(right + RIGHT - half - 4.0).max(left + half);
        let free = rows.iter().position(|end| middle - half > *end);
        let row = free.unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(0.0);
        }
        rows[row] = middle + half + 8.0;
        let height = y + 8.0 + row as f64 * LINE;
        canvas.text((middle, height), Anchor::Middle, "muted", &marker.label);
    }
    y + rows.len() as f64 * LINE
}

/// One panel below `top`; returns where its plot ends.
fn panel(
    canvas: &mut Canvas,
    panel: &Panel,
    x: &Placement,
    (sides, top): ((f64, f64), f64),
    column: f64,
) -> f64 {
    let (left, right) = sides;
    let name = panel.y.title();
    canvas.text((left, top + 9.0), Anchor::Start, "y", &name);
    let entries: Vec<_> = coloured(panel)
        .filter(|(line, _)| !line.name.is_empty())
        .map(|(line, colour)| (line.name.clone(), Sample::Line(colour, line.stroke)))
        .collect();
    let start = left + text_width(&name) * 1.1 + 18.0;
    let upper = legend(canvas, &entries, (start, left), top + 9.0) - 1.0;
    let lower = upper + panel.height;

    let values = panel
        .lines
        .iter()
        .flat_map(|line| line.points.iter().take(MAX_POINTS));
    let values = values.filter(|point| x.shows(point.0)).map(|point| point.1);
    let y = Placement::new(&panel.y, values, (lower, upper), 38.0, Fit::Labels);
    grid(canvas, x, &y, sides, (upper, lower));
    for (line, colour) in coloured(panel) {
        draw_line(canvas, line, colour, x, &y, column);
    }
    if y.is_empty {
        let middle = (f64::midpoint(left, right), f64::midpoint(upper, lower));
        canvas.text(middle, Anchor::Middle, "muted", "no values");
    }
    canvas.line(&[(left, lower), (right, lower)], "axis");
    lower
}

fn marker_lines(
    canvas: &mut Canvas,
    markers: &[Marker],
    x: &Placement,
    (upper, lower): (f64, f64),
) {
    for marker in markers.iter().filter(|marker| x.shows(marker.x)) {
        if let Some(place) = x.place(marker.x) {
            canvas.line(&[(place, upper), (place, lower)], "mark");
        }
    }
}

fn coloured(panel: &Panel) -> impl Iterator<Item = (&Line, usize)> {
    let lines = panel.lines.iter().enumerate();
    lines.map(|(index, line)| (line, line.colour.unwrap_or(index)))
}

fn grid(
    canvas: &mut Canvas,
    x: &Placement,
    y: &Placement,
    (left, right): (f64, f64),
    (upper, lower): (f64, f64),
) {
    for place in x.ticks.iter().filter_map(|(value, _)| x.place(*value)) {
        canvas.line(&[(place, upper), (place, lower)], "grid");
    }
    for (value, label) in &y.ticks {
        if let Some(place) = y.place(*value) {
            canvas.line(&[(left, place), (right, place)], "grid");
            canvas.text((left - 7.0, place), Anchor::End, "muted", label);
        }
    }
}

fn draw_line(
    canvas: &mut Canvas,
    line: &Line,
    colour: usize,
    x: &Placement,
    y: &Placement,
    column: f64,
) {
    let class = stroke_class(colour, line.stroke);
    if line.stroke == Stroke::Extents {
        return draw_extents(canvas, line, &class, x, y, column);
    }
    let points = &line.points[..line.points.len().min(MAX_POINTS)];
    for run in points.split(|point| !point.0.is_finite() || !point.1.is_finite()) {
        let placed: Vec<_> = run
            .iter()
            .filter(|point| x.shows(point.0))
            .filter_map(|point| Some((x.place(point.0)?, y.place(point.1)?)))
            .collect();
        // Marks stand for what was measured: each stays, unless they hide each other.
        let placed = match line.stroke {
            Stroke::Marked | Stroke::Dots if placed.len() <= MAX_MARKS => placed,
            _ => decimate(&placed, column),
        };
        if placed.is_empty() {
            continue;
        }
        match line.stroke {
            Stroke::Solid | Stroke::Dashed | Stroke::Marked => canvas.line(&placed, &class),
            Stroke::Steps => canvas.line(&steps(&placed), &class),
            Stroke::Dots | Stroke::Extents => {}
        }
        if matches!(line.stroke, Stroke::Dots | Stroke::Marked) {
            for point in placed {
                mark(canvas, point, colour);
            }
        }
    }
}

/// Bars that are lower than this, in pixels, are drawn as high as that.
const LOWEST_BAR: f64 = 2.0;

fn draw_extents(
    canvas: &mut Canvas,
    line: &Line,
    class: &str,
    x: &Placement,
    y: &Placement,
    column: f64,
) {
    let points = &line.points[..line.points.len().min(MAX_POINTS)];
    let bars = points.chunks_exact(2).filter_map(|ends| {
        let place = x.shows(ends[0].0).then(|| x.place(ends[0].0))??;
        let (one, other) = (y.place(ends[0].1)?, y.place(ends[1].1)?);
        let middle = f64::midpoint(one, other);
        let half = ((one - other).abs() / 2.0).max(LOWEST_BAR / 2.0);
        Some((place, middle - half, middle + half))
    });
    let bars = merge(bars.collect(), column);
    if !bars.is_empty() {
        canvas.bars(&bars, class);
    }
}

/// The corners of a line whose values hold until the next.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let corners = points
        .windows(2)
        .flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(points.last().copied()).collect()
}

fn stroke_class(colour: usize, stroke: Stroke) -> String {
    let dashed = if stroke == Stroke::Dashed || colour / COLOURS % 2 == 1 {
        " dashed"
    } else {
        ""
    };
    format!("l{}{dashed}", colour % COLOURS)
}

/// A mark whose shape tells colours apart on grey paper.
fn mark(canvas: &mut Canvas, (x, y): (f64, f64), colour: usize) {
    let class = format!("f{}", colour % COLOURS);
    let around = |corners: &[(f64, f64)]| -> Vec<_> {
        corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect()
    };
    let corners: &[(f64, f64)] = match colour % COLOURS {
        1 => &[(0.0, -4.6), (4.4, 3.4), (-4.4, 3.4)],
        2 => &[(-3.4, -3.4), (3.4, -3.4), (3.4, 3.4), (-3.4, 3.4)],
        3 => &[(0.0, -4.8), (4.8, 0.0), (0.0, 4.8), (-4.8, 0.0)],
        4 => &[(0.0, 4.6), (4.4, -3.4), (-4.4, -3.4)],
        5 => &[(-2.0, -4.6), (2.0, -4.6), (2.0, 4.6), (-2.0, 4.6)],
        6 => &[(-4.6, -2.0), (4.6, -2.0), (4.6, 2.0), (-4.6, 2.0)],
        _ => return canvas.circle((x, y), 3.6, &class),
    };
    canvas.polygon(&around(corners), &class);
}

/// Rows of ticks below `top`; returns where they end.
fn events(
    canvas: &mut Canvas,
    tracks: &[EventTrack],
    x: &Placement,
    (left, right): (f64, f64),
    top: f64,
) -> f64 {
    if tracks.is_empty() {
        return top - 12.0;
    }
    let mut y = top;
    for track in tracks {
        let middle = y + 9.0;
        let name = fitted(&track.name, left - 16.0);
        canvas.text((left - 7.0, middle), Anchor::End, "muted", &name);
        canvas.line(&[(left, middle), (right, middle)], "grid");
        let class = format!("l{} event", track.colour % COLOURS);
        let mut places: Vec<_> = track
            .at
            .iter()
            .filter(|at| x.shows(**at))
            .filter_map(|at| x.place(*at))
            .map(|place| place.round() as i32)
            .collect();
        places.sort_unstable();
        places.dedup();
        for place in places.into_iter().map(f64::from) {
            canvas.line(&[(place, middle - 5.5), (place, middle + 5.5)], &class);
        }
        y += LINE + 2.0;
    }
    canvas.line(&[(left, y + 2.0), (right, y + 2.0)], "axis");
    y + 2.0
}
