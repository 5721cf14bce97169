//! Reports of ordinary and of awkward data.

use roxmltree::{Document, ParsingOptions};

use crate::*;

/// The text as XML; panics with the place of the first fault.
fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options).expect("well-formed");
    for node in document.descendants() {
        for attribute in node.attributes() {
            let value = attribute.value();
            assert!(!value.contains("NaN") && !value.contains("inf"), "{value}");
        }
    }
    document
}

fn texts<'a>(document: &'a Document<'_>) -> Vec<&'a str> {
    let texts = document
        .descendants()
        .filter(|node| node.has_tag_name("text"));
    texts
        .filter_map(|node| node.text())
        .map(str::trim)
        .collect()
}

fn points_of(document: &Document<'_>, class: &str) -> Vec<(f64, f64)> {
    let lines = document
        .descendants()
        .filter(|node| node.has_tag_name("polyline") && node.attribute("class") == Some(class));
    // The first is the legend's sample.
    let points = lines.skip(1).filter_map(|node| node.attribute("points"));
    let pairs = points.flat_map(|points| points.split(' '));
    let number = |text: &str| text.parse::<f64>().expect("a number");
    pairs
        .filter_map(|pair| pair.split_once(','))
        .map(|(x, y)| (number(x), number(y)))
        .collect()
}

fn chart_of(points: Vec<(f64, f64)>) -> Chart {
    Chart::new("chart", Axis::new("time", "s"))
        .panel(Panel::new(Axis::new("window", "kB")).line(Line::new("cwnd", points)))
}

#[test]
fn a_line_stands_where_its_values_are() {
    let svg = chart_of(vec![(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)]).to_svg();
    let document = parsed(&svg);
    let points = points_of(&document, "l0");
    assert_eq!(points.len(), 3);
    let [low, middle, high] = points[..] else {
        unreachable!()
    };
    assert!(
        (middle.0 - f64::midpoint(low.0, high.0)).abs() < 0.11,
        "{points:?}"
    );
    assert!(
        (middle.1 - f64::midpoint(low.1, high.1)).abs() < 0.11,
        "{points:?}"
    );
    assert!(low.1 > high.1, "greater values stand higher: {points:?}");
    let texts = texts(&document);
    for text in ["chart", "time (s)", "window (kB)", "cwnd", "10", "100"] {
        assert!(texts.contains(&text), "{text} is missing in {texts:?}");
    }
}

#[test]
fn what_cannot_be_drawn_is_a_gap() {
    let gaps = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for gap in gaps {
        let svg = chart_of(vec![
            (0.0, 1.0),
            (1.0, 2.0),
            (2.0, gap),
            (3.0, 3.0),
            (4.0, 1.0),
        ])
        .to_svg();
        let document = parsed(&svg);
        let lines = document
            .descendants()
            .filter(|node| node.has_tag_name("polyline") && node.attribute("class") == Some("l0"));
        assert_eq!(lines.count(), 3, "two pieces and the legend's sample");
    }
}

#[test]
fn awkward_data_is_drawn_all_the_same() {
    let huge = f64::MAX / 4.0;
    for points in [
        vec![],
        vec![(3.0, 4.0)],
        vec![(f64::NAN, f64::NAN)],
        vec![(0.0, 0.0), (0.0, 0.0)],
        vec![(1.0, -5.0), (2.0, -5.0)],
        vec![(1.0, 1e-300), (2.0, 2e-300)],
        vec![(-huge, -huge), (huge, huge)],
        vec![(0.0, f64::MAX), (1.0, f64::MIN)],
        vec![(1e9, 1e9), (1e9 + 1.0, 1e9 + 1.0)],
    ] {
        for log in [false, true] {
            let mut chart = chart_of(points.clone())
                .marker(f64::NAN, "never")
                .events(EventTrack::new("nothing", vec![]))
                .events(EventTrack::new("something", vec![f64::INFINITY, 1.0]));
            if log {
                chart.x = chart.x.log();
                chart.panels[0].y = chart.panels[0].y.clone().log();
            }
            parsed(&chart.to_svg());
        }
    }
    let bars = Waterfall::new("bars", Axis::new("time", "ms"), ["wait"])
        .bar(Bar::new("heading"))
        .bar(Bar::new("nothing").span(0, f64::NAN, f64::NAN))
        .bar(Bar::new("backwards").span(9, 5.0, 1.0).note("<&>"));
    parsed(&bars.to_svg());
    parsed(&Waterfall::default().to_svg());
    parsed(&Chart::default().to_svg());
    parsed(&Report::default().to_html());
}

#[test]
fn text_stays_text() {
    let nasty = "</title><script>alert(\"1\")</script>&amp; \u{1}";
    let mut report = Report::new(nasty, nasty);
    report.about = nasty.into();
    report.parameters = vec![(nasty.into(), nasty.into())];
    let chart = Chart::new("]]><b>", Axis::new("<x>", "&"))
        .panel(Panel::new(Axis::new("<y>", "&")).line(Line::new("</svg>", vec![(0.0, 1.0)])));
    let table = Table::new(["<th>"]).row(["</td>"]).caption("<caption>");
    let section = Section::new("<h2>").block(chart).block(table);
    let html = report.section(section).to_html();
    let document = parsed(&html);
    assert!(
        !document
            .descendants()
            .any(|node| node.has_tag_name("script"))
    );
}

#[test]
fn a_long_line_keeps_its_peaks_in_little_room() {
    let spike = 123_456;
    let points = (0..1_000_000)
        .map(|n| {
            (
                f64::from(n),
                if n == spike {
                    9.0
                } else {
                    f64::from(n % 7) / 7.0
                },
            )
        })
        .collect();
    let svg = chart_of(points).to_svg();
    assert!(svg.len() < 150_000, "{} bytes", svg.len());
    let document = parsed(&svg);
    let points = points_of(&document, "l0");
    let top = points.iter().map(|point| point.1).fold(f64::MAX, f64::min);
    let peaks = points.iter().filter(|point| point.1 < top + 50.0).count();
    assert_eq!(peaks, 1, "the spike, once");
}

#[test]
fn the_file_of_a_large_sweep_stays_small() {
    let points: Vec<_> = (0..2_000)
        .map(|n| (f64::from(n), f64::from(n * n % 997)))
        .collect();
    let mut chart = Chart::new("run", Axis::new("time", "s"));
    for _ in 0..5 {
        let lines = (0..4).map(|n| Line::new(format!("flow {n}"), points.clone()));
        let panel = lines.fold(Panel::new(Axis::new("window", "B")), Panel::line);
        chart = chart.panel(panel);
    }
    let mut report = Report::new("sweep", "lab run sweep");
    for run in 0..200 {
        let section = Section::new(format!("run {run}"))
            .collapsed()
            .block(chart.clone());
        report = report.section(section);
    }
    let html = report.to_html();
    assert!(html.len() < 25_000_000, "{} bytes", html.len());
    assert_eq!(html.matches("<svg").count(), 150);
    assert!(
        html.contains("in the CSV file"),
        "the rest is said to be missing"
    );
}

#[test]
fn a_logarithmic_axis_has_decades_and_a_place_for_zero() {
    let loss = [0.0, 0.01, 0.1, 1.0];
    let mut chart = chart_of(loss.iter().map(|loss| (*loss, 5.0)).collect());
    chart.x = Axis::new("loss", "%").log();
    let svg = chart.to_svg();
    let document = parsed(&svg);
    let texts = texts(&document);
    for text in ["0", "0.01", "0.1", "1"] {
        assert!(texts.contains(&text), "{text} is missing in {texts:?}");
    }
    // The line is level; what counts is how far it reaches.
    let points = points_of(&document, "l0");
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    assert!(last - first > 700.0, "{points:?}");
}

#[test]
fn values_that_hardly_differ_are_not_blown_up() {
    let svg = chart_of(vec![(25.080_16, 1.0), (25.080_17, 1.000_01)]).to_svg();
    let document = parsed(&svg);
    let texts = texts(&document);
    for text in ["0", "50", "1", "2"] {
        assert!(texts.contains(&text), "{text} is missing in {texts:?}");
    }
}

#[test]
fn panels_share_one_axis() {
    let early =
        Panel::new(Axis::new("early", "")).line(Line::new("a", vec![(0.0, 1.0), (10.0, 2.0)]));
    let late = Panel::new(Axis::new("late", ""))
        .line(Line::new("b", vec![(10.0, 1.0), (20.0, 2.0)]).colour(1));
    let chart = Chart::new("two", Axis::new("time", "s"))
        .panel(early)
        .panel(late);
    let svg = chart.to_svg();
    let document = parsed(&svg);
    let end = points_of(&document, "l0").last().expect("points").0;
    let start = points_of(&document, "l1").first().expect("points").0;
    assert!((end - start).abs() < 0.01, "10 s stand in one vertical");
}

#[test]
fn markers_close_together_have_labels_apart() {
    let chart = chart_of(vec![(0.0, 1.0), (100.0, 1.0)])
        .marker(50.0, "rate 50 Mbit/s")
        .marker(51.0, "rate 100 Mbit/s");
    let svg = chart.to_svg();
    let document = parsed(&svg);
    let mut heights = document
        .descendants()
        .filter(|node| {
            node.text()
                .is_some_and(|text| text.trim().starts_with("rate "))
        })
        .filter_map(|node| node.attribute("y"));
    assert_ne!(heights.next(), heights.next());
}

#[test]
fn columns_of_figures_are_flush_right() {
    let table = Table::new(["flow", "goodput"])
        .row(["reno", "−1.5"])
        .row(["cubic", "94.0"]);
    let html = Report::new("t", "")
        .section(Section::new("s").block(table))
        .to_html();
    assert!(html.contains("<th>flow</th><th class=\"n\">goodput</th>"));
    assert!(html.contains("<td>reno</td><td class=\"n\">−1.5</td>"));
    parsed(&html);
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let page = || {
        let chart = chart_of(vec![(0.0, 1.0), (1.0, 3.0)]);
        Report::new("t", "c")
            .section(Section::new("s").block(chart))
            .to_html()
    };
    assert_eq!(page(), page());
}

#[test]
fn labels_have_the_digits_they_need() {
    for (value, step, text) in [
        (0.0, 0.1, "0.0"),
        (0.1 + 0.2, 0.1, "0.3"),
        (-0.0, 0.5, "0.0"),
        (-2.5, 0.5, "\u{2212}2.5"),
        (1500.0, 500.0, "1500"),
        (30_000.0, 10_000.0, "30 k"),
        (2_500_000.0, 500_000.0, "2500 k"),
        (5e6, 1e6, "5 M"),
        (0.0, 1e6, "0"),
    ] {
        assert_eq!(
            axis::number(value, step),
            text,
            "{value} in steps of {step}"
        );
    }
}

/// Upright strokes of a class: place, upper end, lower end; the legend's sample left out.
fn bars_of(document: &Document<'_>, class: &str) -> Vec<(f64, f64, f64)> {
    let paths = document
        .descendants()
        .filter(|node| node.has_tag_name("path") && node.attribute("class") == Some(class));
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let strokes = paths
        .skip(1)
        .filter_map(|node| node.attribute("d"))
        .flat_map(|d| d.split('M').skip(1));
    strokes
        .filter_map(|stroke| {
            let (at, lower) = stroke.split_once('V')?;
            let (x, upper) = at.split_once(',')?;
            Some((number(x), number(upper), number(lower)))
        })
        .collect()
}

fn extents_of(extents: &[(f64, f64, f64)]) -> Chart {
    let points = extents
        .iter()
        .flat_map(|&(x, low, high)| [(x, low), (x, high)])
        .collect();
    let line = Line::new("sent", points).stroke(Stroke::Extents);
    let y = Axis::new("bytes", "kB").from(0.0).to(100.0);
    Chart::new("sequence", Axis::new("time", "s")).panel(Panel::new(y).line(line))
}

#[test]
fn an_extent_reaches_from_value_to_value() {
    let svg = extents_of(&[(0.0, 0.0, 50.0), (5.0, 50.0, 100.0), (10.0, 25.0, 25.0)]).to_svg();
    let bars = bars_of(&parsed(&svg), "l0");
    let [first, second, flat] = bars[..] else {
        panic!("{bars:?}");
    };
    assert!(
        (first.1 - second.2).abs() < 0.11,
        "they meet at 50: {bars:?}"
    );
    assert!(((first.2 - first.1) - (second.2 - second.1)).abs() < 0.21);
    assert!(flat.2 - flat.1 >= 1.9, "nothing is too low to be seen");
    let middle = f64::midpoint(first.0, flat.0);
    assert!((second.0 - middle).abs() < 0.11, "{bars:?}");
}

#[test]
fn extents_side_by_side_become_one_and_gaps_between_them_stay() {
    let dense: Vec<_> = (0..90_000)
        .map(|n| {
            (
                f64::from(n) / 1e4,
                f64::from(n % 1000) / 20.0,
                f64::from(n % 1000 + 1) / 20.0,
            )
        })
        .chain([(10.0, 0.0, 10.0), (10.0, 60.0, 100.0)])
        .collect();
    let svg = extents_of(&dense).to_svg();
    let bars = bars_of(&parsed(&svg), "l0");
    assert!(bars.len() < 2_000, "{}", bars.len());
    let last = bars.last().expect("some").0;
    let at_the_end = bars.iter().filter(|bar| bar.0 >= last).count();
    assert_eq!(at_the_end, 2, "a gap stays a gap");
    assert!(svg.len() < 100_000, "{}", svg.len());
}
